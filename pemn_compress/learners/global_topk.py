"""Top-k over a whole model: one density for all tensors together, so that each finds its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch

from pemn_compress.learners.comparison import Comparison
from pemn_compress.learners.group import Group
from pemn_compress.learners.selection import above_cut
from pemn_compress.learners.topk import TopK
from pemn_compress.line import select
from pemn_compress.transforms import transforming

__all__ = ["GlobalTopK"]


@dataclass(frozen=True)
class GlobalTopK(TopK):
    """The floor(density * N + 1/2) scores of largest magnitude among all N of the model (Sreenivasan et al. 2022).

    Alphabets and gradient as for `topk`; of equal magnitudes the earlier tensor wins, then the lower flat C-order
    index. The codes follow from the scores of all tensors. While the model trains, the density may be another one on
    the way there (`Group.density`); codes that are saved, counted or evaluated are always those of the final one.
    """

    name = "topk-global"
    joint: ClassVar[bool] = True

    group: Group = field(default_factory=Group, compare=False, repr=False)
    index: int = 0

    @property
    def density_now(self) -> float:
        """The density that the model trains at, or the final one."""
        return self.group.density_of(self.index, self.density)

    def code(self, score: torch.Tensor) -> torch.Tensor:
        """Select those of the model's top that are in this tensor."""
        return self._codes(score, self._top(score, self.density, again=None))

    def select(self, score: torch.Tensor, value: torch.Tensor, *, again: Any = None) -> torch.Tensor:
        """As `topk`, with one margin for the whole model."""
        found = self.comparison(score, again=again)
        if found is not None:
            return found.select(score, value)
        return select(self._codes(score, self._top(score, self.density_now, again=again)), value, self.alphabet)

    def comparison(self, score: torch.Tensor, *, again: Any = None) -> Comparison | None:
        """The same for all tensors of the model."""
        if torch.compiler.is_compiling() or transforming():
            return None
        return self._beyond(self.group.margin(self.index, score, self.density_now, again=again))

    @classmethod
    def comparisons(cls, learners: Sequence[Any], scores: Sequence[torch.Tensor]) -> list[Comparison | None]:
        """One for all where they are the scores of one model, in which the group searches once."""
        first, density = learners[0], learners[0].density_now
        alike = all(each.group is first.group and each.density_now == density for each in learners)
        if not alike or not first.group.members:
            return super(TopK, cls).comparisons(learners, scores)
        return [first.comparison(scores[0])] * len(scores)

    def found(self) -> Any:
        """The cut among the scores of all tensors."""
        return self.group.found()

    def _top(self, score: torch.Tensor, density: float, *, again: Any) -> torch.Tensor:
        least, places = self.group.cut(self.index, score, density, again=again)
        return above_cut(score.abs(), least, places)
