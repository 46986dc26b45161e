"""Nets and ways to train them, to measure what training costs: dense, every learner, the reference's sort."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import nn
from torch.nn.utils import parametrize

from benchmarks.reference.layers import upper_half
from pemn_compress import MaskConfig, mask_
from pemn_compress.masking import masked_weights
from pemn_compress.models import build
from pemn_compress.train.config import TrainConfig
from pemn_compress.train.mask_gradients import MaskGradients
from pemn_compress.train.memory_format import place_
from pemn_compress.train.optimizer import build_optimizer
from pemn_compress.train.precision import Precision

__all__ = ["CASES", "NETS", "SORT", "build_case", "training_step", "weight_of"]

NETS: Mapping[str, Callable[[], nn.Module]] = {
    "convmixer-48/4": lambda: build("convmixer", dim=48, depth=4, kernel=5, patch=4, classes=10),
    "convmixer-256/8": lambda: build("convmixer", dim=256, depth=8, kernel=5, patch=2, classes=10),
    "resnet-20": lambda: build("resnet", depth=20, classes=10),
    "vit-128/6": lambda: build("vit", dim=128, depth=6, patch=4, classes=10, image=32),
}
SORT = "the reference's sort"
_PAPER = MaskConfig(strategy="rp", ratio=1e-3, distribution="normal", scale="none", learner="topk")
CASES: Mapping[str, MaskConfig | None] = {
    "dense": None,
    "threshold keep": MaskConfig(),
    "threshold sign": MaskConfig(alphabet="sign"),
    "threshold ternary": MaskConfig(alphabet="ternary"),
    "threshold keep, channel scale": MaskConfig(scale="channel"),
    "threshold keep, 251 learned values": MaskConfig(strategy="rp", learn_values=True),
    "topk keep": _PAPER,
    "topk-global keep": MaskConfig(learner="topk-global"),
    SORT: _PAPER,
}
"""How weights come about; None is a dense net. `topk keep` has the values of the preset `paper`, as the sort does."""


class _SortedWeight(nn.Module):
    """A weight as the reference computes it: fixed values times the mask of its scores (Ramanujan et al. 2020)."""

    def __init__(self, values: torch.Tensor) -> None:
        super().__init__()
        self.values = nn.Parameter(values.clone(), requires_grad=False)

    def forward(self, score: torch.Tensor) -> torch.Tensor:
        return self.values * upper_half(score)


def build_case(net: str, case: str, device: torch.device | str = "cpu") -> nn.Module:
    """Return a net whose weights come about as a case says, ready to train; equal nets start with equal residuals."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        model = NETS[net]().to(device).train()
    config = CASES[case]
    if config is None:
        return model
    if case != SORT:
        return mask_(model, config)
    masked, plain = mask_(NETS[net](), config), dict(model.named_modules())
    for name, weight, score in masked_weights(masked):
        path, _, attribute = name.rpartition(".")
        module = plain[path]
        with torch.no_grad():
            getattr(module, attribute).copy_(score)
        parametrize.register_parametrization(module, attribute, _SortedWeight(weight.unmasked().to(device)))
    return model


def weight_of(model: nn.Module) -> list[tuple[torch.Tensor, Callable[[], torch.Tensor]]]:
    """Return (scores, how to compute the weight) of every parametrized weight."""
    return [
        (chain.original, lambda module=module, name=name: getattr(module, name))  # type: ignore[misc]
        for module in model.modules()
        if parametrize.is_parametrized(module)
        for name, chain in module.parametrizations.items()  # type: ignore[union-attr,operator]
    ]


def training_step(
    model: nn.Module,
    batch: int,
    device: torch.device | str,
    *,
    amp: str = "off",
    compiled: bool = False,
    own_loop: bool = False,
) -> Callable[[], None]:
    """Return a whole step as `fit` makes it, on `batch` images of 32 x 32: its memory format, precision and AdamW.

    In a loop of one's own, autograd finds the gradients of scores.
    """
    place = torch.device(device)
    config = TrainConfig(lr=1e-3, weight_decay=5e-3)
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(batch, 3, 32, 32, generator=generator).to(place)
    labels = (torch.arange(batch) % 10).to(place)
    if place_([model], config.channels_last, place):
        images = images.contiguous(memory_format=torch.channels_last)
    optimizer, precision = build_optimizer(model, config), Precision(amp, place)
    forward = torch.compile(model) if compiled else model
    mask_gradients = MaskGradients(model, wanted=not (compiled or own_loop))

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with mask_gradients:
            with precision.autocast():
                loss = nn.functional.cross_entropy(forward(images), labels)
            precision.backward(loss)
            del loss  # its graph has all weights, and gradients of weights
        precision.step(optimizer, config.grad_clip)

    return step
