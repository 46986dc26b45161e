"""`--preset paper` against what the reference does (yueb17/PEMN, src/convmixer); its steps: test_reference.py."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from pemn_compress.data import DataSpec
from pemn_compress.data.downloads import DOWNLOADS
from pemn_compress.masking import masked_weights
from pemn_compress.train.building import build_model
from pemn_compress.train.optimizer import build_optimizer
from pemn_compress.train.presets import resolve
from pemn_compress.train.run_config import RunConfig
from pemn_compress.train.schedule import learning_rate

SPEC = DataSpec("cifar10", 10, 3, (8, 8), *DOWNLOADS["cifar10"].constants or ((), ()))
SMALL = {"dim": 20, "depth": 2}
STRATEGIES = {
    "full": {"strategy": "full"},
    "one-layer": {"strategy": "one-layer"},
    "mp": {"strategy": "mp"},
    "rp copy": {"ratio": 0.1},
    "rp rand": {"ratio": 0.1, "mode": "rand"},
}


def paper(model_args: dict[str, int] | None = None, **options: object) -> tuple[RunConfig, nn.Module]:
    config = resolve("paper", {"model_args": model_args or SMALL, "device": "cpu", **options})
    return config, build_model(config, SPEC.to_input())


@pytest.mark.parametrize("options", STRATEGIES.values(), ids=STRATEGIES)
def test_every_convolution_and_linear_layer_is_masked_and_nothing_else(options: dict[str, object]) -> None:
    _, model = paper(**options)
    expected = [name for name, module in model.named_modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    assert [name.removesuffix(".weight") for name, _, _ in masked_weights(model)] == expected
    assert len(expected) == 2 + 2 * SMALL["depth"]
    assert {type(module) for module in model.modules() if list(module.parameters(recurse=False))} >= {nn.BatchNorm2d}


def test_values_and_first_scores_have_the_references_distributions() -> None:
    config, model = paper({"dim": 128, "depth": 1}, strategy="full")
    assert config.mask is not None
    for name, weight, score in masked_weights(model):
        values = weight.unmasked().flatten().double()
        fan_in = math.prod(weight.tensor.shape[1:])
        count = len(values)
        spread = 5 / math.sqrt(2 * count)
        assert float(values.std()) == pytest.approx(math.sqrt(2 / fan_in), rel=spread), name
        assert abs(float(values.mean())) < 5 * math.sqrt(2 / fan_in / count), name
        within = float((values.abs() < math.sqrt(2 / fan_in)).double().mean())
        assert within == pytest.approx(0.6827, abs=2.5 / math.sqrt(count) + 0.004), name
        bound = 1 / math.sqrt(fan_in)  # kaiming_uniform with a = sqrt(5)
        assert float(score.detach().abs().max()) <= bound
        assert float(score.detach().double().std()) == pytest.approx(bound / math.sqrt(3), rel=spread), name


def test_one_layer_shares_the_first_convolution_of_each_shape() -> None:
    _, model = paper(strategy="one-layer")
    found = {name: weight.unmasked() for name, weight, _ in masked_weights(model)}
    assert torch.equal(found["blocks.0.dw.weight"], found["blocks.1.dw.weight"])
    assert torch.equal(found["blocks.0.pw.weight"], found["blocks.1.pw.weight"])
    assert not torch.equal(found["patch.weight"].flatten()[:200], found["head.weight"].flatten())


@pytest.mark.parametrize("options", [{"strategy": "mp"}, {"ratio": 0.1}, {"ratio": 0.1, "mode": "rand"}])
def test_padding_copies_the_largest_layers_values_unscaled(options: dict[str, object]) -> None:
    _, model = paper(**options)
    values = {name: weight.unmasked().flatten() for name, weight, _ in masked_weights(model)}
    largest = max(values.values(), key=len)
    assert len(largest) == 25 * SMALL["dim"]  # 5 x 5 kernels beat 20 x 20 pointwise weights
    for name, mine in values.items():
        assert torch.equal(mine, largest[: len(mine)]), name
    if "ratio" in options:
        length = int(len(largest) * 0.1) + 1
        counts = torch.unique(largest, return_counts=True)[1]
        assert len(counts) <= length
        if options.get("mode") != "rand":
            assert torch.equal(largest, largest[:length].repeat(len(largest) // length + 1)[: len(largest)])


def test_scores_decay_like_everything_else_and_the_optimizer_is_adamws_default() -> None:
    config, model = paper()
    groups = build_optimizer(model, config.train).param_groups
    assert {group["weight_decay"] for group in groups} == {0.005}
    assert {(group["betas"], group["eps"], group["amsgrad"]) for group in groups} == {((0.9, 0.999), 1e-8, False)}
    trained = sum(parameter.numel() for group in groups for parameter in group["params"])
    assert trained == sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize("epochs", [25, 100])
def test_the_rate_of_every_step_is_the_references(epochs: int) -> None:
    steps = 7
    nodes = [0, epochs * 2 // 5, epochs * 4 // 5, epochs], [0, 0.05, 0.05 / 20, 0]
    for step in range(epochs * steps):
        expected = float(np.interp(step // steps + (step % steps + 1) / steps, *nodes))
        assert learning_rate("piecewise", 0.05, step, steps, epochs) == pytest.approx(expected, abs=1e-12)


def test_images_are_augmented_with_the_readmes_numbers() -> None:
    recipe = resolve("paper", {}).train
    assert (recipe.crop_scale, recipe.flip, recipe.shift) == (1.0, True, 0)
    assert (recipe.randaugment_n, recipe.randaugment_m) == (2, 12)
    assert (recipe.jitter, recipe.erasing) == (0.2, 0.2)
    assert (recipe.label_smoothing, recipe.grad_clip) == (0.0, None)


def test_tiny_imagenet_is_only_shifted_and_mirrored() -> None:
    recipe = resolve("paper", {"data": "tiny-imagenet"}).train
    assert (recipe.shift, recipe.flip) == (8, True)
    assert (recipe.randaugment_n, recipe.jitter, recipe.erasing, recipe.crop_scale) == (0, 0.0, 0.0, 1.0)
    assert resolve("paper", {"data": "tiny-imagenet", "jitter": 0.1}).train.jitter == 0.1


@pytest.mark.parametrize(
    ("name", "mean", "std"),
    [
        ("cifar10", (0.4914, 0.4822, 0.4465), (0.2471, 0.2435, 0.2616)),
        ("cifar100", (0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761)),
    ],
)
def test_images_are_normalised_with_the_references_constants(
    name: str, mean: tuple[float, ...], std: tuple[float, ...]
) -> None:
    constants = DOWNLOADS[name].constants
    assert constants is not None
    assert tuple(map(float, constants[0])) == mean
    assert tuple(map(float, constants[1])) == std
