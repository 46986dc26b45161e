"""The edge-popup learner: the weights with the largest scores by magnitude, at a fixed density per tensor."""

from __future__ import annotations

import torch

from pemn_compress.learners.base import Learner
from pemn_formats.errors import PemnError

__all__ = ["TopK"]


class TopK(Learner):
    """The floor(density * n + 1/2) scores of largest magnitude, at least one: the paper's (Ramanujan et al. 2020).

    `keep`: those weights stay. `sign`: those are +, the others -. `ternary`: those take the sign of their score, the
    others are 0. Of equal magnitudes the lower flat C-order index wins, so that every device agrees.
    """

    name = "topk"

    def code(self, score: torch.Tensor) -> torch.Tensor:
        """Select the top of the magnitudes."""
        top = _top(score.abs(), max(1, int(self.density * score.numel() + 0.5)))
        if self.alphabet != "ternary":
            return top
        return (top & (score > 0)).to(torch.int8) - (top & (score < 0)).to(torch.int8)

    def direction(self, score: torch.Tensor) -> torch.Tensor | None:
        """The gradient reaches the magnitude, hence the score by its sign; a ternary code moves with the score."""
        return None if self.alphabet == "ternary" else score.sign()

    def probability(self, score: torch.Tensor, temperature: float) -> torch.Tensor:
        """Refuse: the density does not depend on the scores."""
        raise PemnError("learner topk keeps a fixed density, so no rate can be learned; use learner 'threshold'")


def _top(magnitude: torch.Tensor, count: int) -> torch.Tensor:
    """Return bool in the same shape: True at the `count` largest, the lower flat index first among equals."""
    flat = magnitude.reshape(-1)
    least = torch.topk(flat, count, sorted=False).values.amin()
    above, equal = flat > least, flat == least
    places = count - above.sum(dtype=torch.int32)
    first = equal & (equal.cumsum(0, dtype=torch.int32) <= places)
    return (above | first).reshape(magnitude.shape)
