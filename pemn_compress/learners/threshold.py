"""The threshold learner: a bit is the sign of its score. Free density, no sort."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import torch

from pemn_compress.learners.base import Learner
from pemn_compress.learners.comparison import ABOVE, BEYOND, Comparison
from pemn_formats.errors import PemnError

__all__ = ["Threshold"]


class Threshold(Learner):
    """`keep` and `sign`: code 1 where score > 0. `ternary`: sign(score) where abs(score) > t, else 0.

    t = bound * (1 - density) never changes, so `density` is the expected density at the start and training moves it.
    The gradient passes straight through to the score (Bengio et al. 2013).
    """

    name = "threshold"

    @classmethod
    def check(cls, alphabet: str, density: float) -> None:
        """Refuse a density that would have no effect."""
        super().check(alphabet, density)
        if alphabet != "ternary" and density != 0.5:
            raise PemnError(
                f"learner threshold starts {alphabet} masks at density 0.5 and learns it, found density {density}; "
                "use learner 'topk' to fix another"
            )

    @property
    def margin(self) -> float:
        """The constant t of the ternary alphabet."""
        return self.bound * (1.0 - self.density)

    def code(self, score: torch.Tensor) -> torch.Tensor:
        """Compare each score with the threshold."""
        if self.alphabet != "ternary":
            return score > 0
        return (score > self.margin).to(torch.int8) - (score < -self.margin).to(torch.int8)

    def comparison(self, score: torch.Tensor, *, again: Any = None) -> Comparison:
        """The same for all scores."""
        return self._compared

    @cached_property
    def _compared(self) -> Comparison:
        if self.alphabet == "ternary":
            return Comparison(BEYOND["ternary"], self.margin, False)
        return Comparison(ABOVE[self.alphabet], 0.0, False)

    def probability(self, score: torch.Tensor, temperature: float) -> torch.Tensor:
        """Sigmoid of the distance to the threshold over the temperature."""
        distance = score if self.alphabet != "ternary" else score.abs() - self.margin
        return torch.sigmoid(distance / temperature)
