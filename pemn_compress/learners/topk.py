"""The edge-popup learner: the weights with the largest scores by magnitude, at a fixed density per tensor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from pemn_compress.learners.base import Learner
from pemn_compress.learners.comparison import BEYOND, Comparison
from pemn_compress.learners.selection import above_cut, find_cut, find_margin, find_margins, kept_count
from pemn_compress.transforms import transforming
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
        magnitude = score.abs()
        return self._codes(score, above_cut(magnitude, *find_cut([magnitude], kept_count(self.density, score.numel()))))

    def comparison(self, score: torch.Tensor, *, again: Any = None) -> Comparison | None:
        """On the CPU: find what the kept magnitudes exceed, unless equals straddle the cut."""
        if not _can_be_searched(score):
            return None
        return self._beyond(find_margin([score], kept_count(self.density, score.numel())))

    @classmethod
    def comparisons(cls, learners: Sequence[TopK], scores: Sequence[torch.Tensor]) -> list[Comparison | None]:
        """On the CPU in one search of all tensors."""
        if not _can_be_searched(*scores):
            return super().comparisons(learners, scores)
        counts = [kept_count(learner.density, score.numel()) for learner, score in zip(learners, scores, strict=True)]
        margins = find_margins(scores, counts)
        return [learner._beyond(margin) for learner, margin in zip(learners, margins, strict=True)]

    def direction(self, score: torch.Tensor) -> torch.Tensor | None:
        """The gradient reaches the magnitude, hence the score by its sign; a ternary code moves with the score."""
        return None if self.alphabet == "ternary" else score.sign()

    def probability(self, score: torch.Tensor, temperature: float) -> torch.Tensor:
        """Refuse: the density does not depend on the scores."""
        raise PemnError(
            f"learner {self.name} keeps a fixed density, so no rate can be learned; use learner 'threshold'"
        )

    def _codes(self, score: torch.Tensor, top: torch.Tensor) -> torch.Tensor:
        """Return the codes where the top is known."""
        if self.alphabet != "ternary":
            return top
        return (top & (score > 0)).to(torch.int8) - (top & (score < 0)).to(torch.int8)

    def _beyond(self, margin: float | None) -> Comparison | None:
        """Return the comparison where the kept magnitudes are those that exceed a margin."""
        return None if margin is None else Comparison(BEYOND[self.alphabet], margin, self.alphabet != "ternary")


def _can_be_searched(*scores: torch.Tensor) -> bool:
    return not torch.compiler.is_compiling() and not transforming() and all(score.is_cpu for score in scores)
