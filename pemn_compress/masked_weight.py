"""The parametrization: a weight that is computed from its scores."""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn.utils.parametrize import ParametrizationList

from pemn_compress.bucket import Slot
from pemn_compress.config import MaskConfig
from pemn_compress.generator import seeded_values
from pemn_compress.learners import Learner
from pemn_compress.straight_through import StraightThrough, scaled_value, transformed_weight
from pemn_compress.straight_through_many import Ingredients
from pemn_compress.strategies import Plan, TensorInfo
from pemn_compress.transforms import transforming
from pemn_formats.errors import PemnError
from pemn_formats.fills import SCORE_STREAM

__all__ = ["MaskChain", "MaskedWeight", "initial_scores", "score_bound"]


def score_bound(fan_in: int) -> float:
    """Return the half-width of the initial scores, 1 / sqrt(fan_in): Kaiming's uniform with a = sqrt(5)."""
    return 1.0 / math.sqrt(fan_in)


def initial_scores(
    tensor: TensorInfo, index: int, seed: int, bound: float, device: torch.device | str = "cpu"
) -> torch.Tensor:
    """Return the initial scores of the masked tensor number `index`, float32 in its shape, the same everywhere.

    They are uniform in (-bound, bound).
    """
    unit = seeded_values("uniform", seed, SCORE_STREAM + index, tensor.numel, device)
    return unit.mul_(bound).reshape(tensor.shape)


class MaskedWeight(nn.Module):
    """Computes select(code, scale * base) from the scores of one tensor; the gradient goes straight through.

    Registered by `mask_` with `torch.nn.utils.parametrize`; the scores are its `original`.

    tensor, name, index: what is masked, its full name, and its number in the model.
    plan, config: those of the whole model. fill: prototype, span and scale of this tensor.
    value: buffer of scale * base, float32 in the tensor's shape, not saved: the configuration gives it again. Where the
        scale is learned it holds the base alone; None where the values are learned.
    vector: the learned values, float32 of shape (length,), one parameter for all tensors of a prototype; else None.
    scale: a learned parameter, float32 of shape (channels,) along dimension 0; else None.
    """

    value: torch.Tensor
    vector: nn.Parameter | None
    scale: nn.Parameter | None

    def __init__(
        self,
        tensor: TensorInfo,
        index: int,
        plan: Plan,
        config: MaskConfig,
        source: torch.Tensor | nn.Parameter,
        learner: Learner,
    ) -> None:
        super().__init__()
        self.tensor, self.index, self.plan, self.config = tensor, index, plan, config
        self.name = tensor.name
        self.fill = plan.fills[index]
        self.alphabet = config.alphabet
        self.learner = learner
        self.vector = source if isinstance(source, nn.Parameter) else None
        self.register_buffer("value", source if self.vector is None else None, persistent=False)
        self.scale, self._constant = None, None
        if config.scale == "channel":
            scale = torch.full((tensor.shape[0],), float(self.fill.scale), dtype=torch.float32, device=source.device)
            self.scale = nn.Parameter(scale)
        if self.vector is not None:
            self._constant = float(self.fill.scale)

    def forward(self, score: torch.Tensor) -> torch.Tensor:
        """Return the weight of float32 scores, in their shape; bit for bit what a saved file gives back.

        While a `joint` learner is on its way to its density, that holds in evaluation mode.
        """
        source = self.checked(score)
        if transforming():
            return transformed_weight(score, self.scale, source, self._constant, self.learner)
        weight: torch.Tensor = StraightThrough.apply(score, self.scale, source, self._constant, self.learner)
        return weight

    @property
    def fixed(self) -> bool:
        """Whether scores are all that is learned."""
        return self.scale is None and self.vector is None

    def ingredients(self, score: torch.Tensor) -> Ingredients:
        """Return what the weight is made of beside its scores, checked as `checked` does."""
        return Ingredients(self.learner, self.scale, self.checked(score), self._constant)

    def checked(self, score: torch.Tensor) -> torch.Tensor:
        """Return `value` or `vector`; raise `PemnError` where they or the scores are not float32."""
        source = self._source
        if score.dtype is not torch.float32 or source.dtype is not torch.float32:
            raise PemnError(
                f"{self.name}: scores and values must stay float32, found {score.dtype} and {source.dtype}; "
                "use autocast for narrower arithmetic, or merge_ the model before converting it"
            )
        return source

    @torch.no_grad()
    def unmasked(self) -> torch.Tensor:
        """Return scale * base, the weights before the mask, float32 in the tensor's shape; not to be changed."""
        return scaled_value(self.tensor.shape, self.scale, self._source, self._constant)

    @torch.no_grad()
    def code(self, score: torch.Tensor) -> torch.Tensor:
        """Return the codes, int8 in the scores' shape: 0 or 1, for `ternary` -1, 0 or 1.

        Raises `PemnError` for scores that are not float32 or not numbers.
        """
        self.checked(score)
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

    @property
    def _source(self) -> torch.Tensor:
        # A module's own search through all that it holds takes longer than a small tensor's choice.
        return self._buffers["value"] if self.vector is None else self.vector  # type: ignore[return-value]


class MaskChain(ParametrizationList):
    """What torch holds a masked weight in, called sooner: its own looks anew for further parametrizations each time."""

    slot = Slot()  # its bucket's, if it is in one

    @property
    def mask(self) -> MaskedWeight:
        """The mask."""
        return self._modules["0"]  # type: ignore[return-value]

    @property
    def alone(self) -> bool:
        """Whether nothing else is registered on the mask."""
        return len(self._modules) == 1

    def forward(self) -> torch.Tensor:
        """Return the weight, after whatever else was registered on it."""
        if not self.alone:
            return super().forward()
        score = self.original
        part = None if torch.compiler.is_compiling() else self.slot.part
        shared = None if part is None else part.weight(self)
        weight: torch.Tensor = self._modules["0"](score) if shared is None else shared
        return weight
