"""The masked weights of a model whose scores compete for one density."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from pemn_compress.forward_span import ForwardSpan
from pemn_compress.learners.selection import find_cut, find_margin, kept_count
from pemn_compress.transforms import transforming

__all__ = ["Group"]

Cut = tuple[torch.Tensor, torch.Tensor]
Found = dict[str, tuple[list[torch.Tensor], float, Any]]


class Group(ForwardSpan):
    """Finds where to cut among the scores of all members.

    members: the parametrizations (`parametrize.ParametrizationList`) in the order of the model; a tensor that no
        member holds stands alone.
    density: the one to train at, or None for each learner's own, the final one.

    While the model's forward runs, what was found for one tensor serves the others; the backward pass hands it back.
    Anywhere else it is found anew: that a tensor has changed cannot be told, since fused optimizers do not count it.
    """

    def __init__(self) -> None:
        self.members: list[nn.Module] = []
        self.density: float | None = None
        self._forward = False
        self._found: Found = {}

    def __getstate__(self) -> dict[str, Any]:
        """What a copy takes along: not what was found."""
        return {**self.__dict__, "_forward": False, "_found": {}}

    def density_of(self, index: int, final: float) -> float:
        """Return the density of a member's weights as they are now: the group's in training, else the final one."""
        if self.density is None or index >= len(self.members) or not self.members[index].training:
            return final
        return self.density

    def margin(self, index: int, score: torch.Tensor, density: float, *, again: Found | None) -> float | None:
        """Return what exactly the kept magnitudes exceed, or None where `cut` must say; see `find_margin`.

        `again` is what `found` gave where no score has changed since. Not for compiled code.
        """
        margin: float | None = self._find("margin", index, score, density, again)
        return margin

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def cut(self, index: int, score: torch.Tensor, density: float, *, again: Found | None) -> Cut:
        """Return the least magnitude kept, and how many of its equals this tensor may keep; see `find_cut`."""
        least, places = self._find("cut", index, score, density, again)
        return least.to(score.device), places[min(index, len(places) - 1)].to(score.device)

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def found(self) -> Found:
        """Return what was found last."""
        return dict(self._found)

    def _begin(self, *_: Any) -> None:
        self._forward = True
        self._found.clear()

    def _end(self, *_: Any) -> None:
        self._forward = False

    def _find(self, what: str, index: int, score: torch.Tensor, density: float, again: Found | None) -> Any:
        """Return what the search finds, from memory where that is sure to hold.

        The scores are kept beside the answer, so that no other tensor can come to lie where they lie.
        """
        known = again or (self._found if self._forward else {})
        if what in known and not transforming():
            scores, found_at, answer = known[what]
            if found_at == density and scores[index].data_ptr() == score.data_ptr():
                return answer
        scores = self._scores(index, score)
        device = scores[0].device
        count = kept_count(density, sum(each.numel() for each in scores))
        if what == "cut":
            answer = find_cut([each.abs().to(device) for each in scores], count)
        elif all(each.device.type == "cpu" for each in scores):
            answer = find_margin(scores, count)
        else:
            answer = None
        if not transforming():
            self._found[what] = (scores, density, answer)
        return answer

    def _scores(self, index: int, score: torch.Tensor) -> list[torch.Tensor]:
        if index >= len(self.members):
            return [score.detach()]
        scores = [member._parameters["original"].detach() for member in self.members]  # type: ignore[union-attr]
        scores[index] = score.detach()
        return scores
