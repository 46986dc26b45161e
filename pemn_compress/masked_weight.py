"""The parametrization: a weight that is computed from its scores."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from pemn_compress.config import MaskConfig
from pemn_compress.generator import expand, seeded_values
from pemn_compress.learners import LEARNERS, Learner
from pemn_compress.line import broadcast_scale, select
from pemn_compress.strategies import Plan, TensorInfo
from pemn_formats.errors import PemnError
from pemn_formats.fills import PERMUTATION_STREAM, SCORE_STREAM

__all__ = ["MaskedWeight", "initial_scores", "score_bound"]


def score_bound(fan_in: int) -> float:
    """Return the half-width of the initial scores, 1 / sqrt(fan_in): Kaiming's uniform with a = sqrt(5)."""
    return 1.0 / math.sqrt(fan_in)


def initial_scores(tensor: TensorInfo, index: int, seed: int, device: torch.device | str = "cpu") -> torch.Tensor:
    """Return the initial scores of the masked tensor number `index`, float32 in its shape, the same everywhere."""
    unit = seeded_values("uniform", seed, SCORE_STREAM + index, tensor.numel, device)
    return unit.mul_(score_bound(tensor.fan_in)).reshape(tensor.shape)


class MaskedWeight(nn.Module):
    """Computes select(code, scale * base) from the scores of one tensor; the gradient goes straight through.

    Registered by `mask_` with `torch.nn.utils.parametrize`; the scores are its `original`.

    tensor, name, index: what is masked, its full name, and its number in the model.
    plan, config: those of the whole model. fill: prototype, span and scale of this tensor.
    base: buffer of unit values, float32 in the tensor's shape, not saved: the configuration gives it again.
    scale: float32 of shape (), or a learned parameter of shape (channels,) along dimension 0.
    """

    base: torch.Tensor
    scale: torch.Tensor

    def __init__(
        self,
        tensor: TensorInfo,
        index: int,
        plan: Plan,
        config: MaskConfig,
        *,
        device: torch.device | str = "cpu",
    ) -> None:
        super().__init__()
        self.tensor, self.index, self.plan, self.config = tensor, index, plan, config
        self.name = tensor.name
        self.fill = plan.fills[index]
        self.alphabet = config.alphabet
        self.learner: Learner = LEARNERS[config.learner](config.alphabet, config.density, score_bound(tensor.fan_in))
        length = plan.prototypes[self.fill.prototype].length
        needed = length if self.fill.span else min(length, tensor.numel)
        prototype = seeded_values(config.distribution, config.seed, self.fill.prototype, needed, device)
        stream = PERMUTATION_STREAM + self.fill.prototype
        base = expand(prototype, self.fill.span, config.seed, stream, tensor.numel)
        self.register_buffer("base", base.reshape(tensor.shape), persistent=False)
        if config.scale == "channel":
            scale = torch.full((tensor.shape[0],), float(self.fill.scale), dtype=torch.float32, device=device)
            self.scale = nn.Parameter(scale)
        else:
            scale = torch.tensor(float(self.fill.scale), dtype=torch.float32, device=device)
            self.register_buffer("scale", scale, persistent=False)

    def forward(self, score: torch.Tensor) -> torch.Tensor:
        """Return the weight of float32 scores, in their shape; bit for bit what a saved file gives back."""
        self._check_dtype(score)
        scale = broadcast_scale(self.scale, self.base.dim())
        code = self.learner.code(score.detach())
        weight: torch.Tensor = _StraightThrough.apply(score, scale, self.base, code, self.learner)
        return weight

    @torch.no_grad()
    def code(self, score: torch.Tensor) -> torch.Tensor:
        """Return the codes, int8 in the scores' shape: 0 or 1, for `ternary` -1, 0 or 1.

        Raises `PemnError` for scores that are not float32 or not numbers.
        """
        self._check_dtype(score)
        if bool(score.isnan().any()):
            raise PemnError(
                f"{self.name}: {int(score.isnan().sum())} of {score.numel()} scores are NaN, so they have no "
                "code; training diverged, lower the learning rate or go back to a checkpoint"
            )
        return self.learner.code(score).to(torch.int8)

    def density(self, score: torch.Tensor) -> float:
        """Return the fraction of codes that are not 0 (for `sign`: that are +)."""
        return int(self.code(score).count_nonzero()) / score.numel()

    def extra_repr(self) -> str:
        """Name what print(model) should show."""
        config = self.config
        return f"{config.strategy}, {config.distribution}, {config.alphabet}, {config.learner}, scale={config.scale}"

    def _check_dtype(self, score: torch.Tensor) -> None:
        if score.dtype != torch.float32 or self.base.dtype != torch.float32:
            raise PemnError(
                f"{self.name}: scores and values must stay float32, found {score.dtype} and {self.base.dtype}; "
                "use autocast for narrower arithmetic, or merge_ the model before converting it"
            )


class _StraightThrough(torch.autograd.Function):
    """The line forward; backward as if every code were its score (Bengio et al. 2013).

    The gradient of the score is that of the weight times the value, times the learner's direction where it has one:
    for `sign` too, whose codes differ by 2, the factor 1 is taken. Saved are tensors that exist anyway, and the codes
    when the scale learns.
    """

    @staticmethod
    def forward(
        score: torch.Tensor, scale: torch.Tensor, base: torch.Tensor, code: torch.Tensor, learner: Learner
    ) -> torch.Tensor:
        return select(code, scale * base, learner.alphabet)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: torch.Tensor) -> None:
        score, scale, base, code, learner = inputs
        ctx.learner = learner
        ctx.save_for_backward(score, scale, base, code if scale.requires_grad else None)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        grad = grads[0]
        score, scale, base, code = ctx.saved_tensors
        to_score = to_scale = None
        if ctx.needs_input_grad[0]:
            to_score = (scale * base).mul_(grad)
            direction = ctx.learner.direction(score)
            if direction is not None:
                to_score.mul_(direction)
        if code is not None:
            effect = grad * select(code, base, ctx.learner.alphabet)
            to_scale = effect.sum_to_size(scale.shape)
        return to_score, to_scale, None, None, None
