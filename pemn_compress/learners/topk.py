"""The edge-popup learner: the weights with the largest scores by magnitude, at a fixed density per tensor."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from pemn_compress.learners.base import Learner
from pemn_compress.learners.selection import above_cut, find_cut, find_margin, kept_count
from pemn_compress.line import SIGN_BIT, keep_beyond, with_sign_of
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

    def select(self, score: torch.Tensor, value: torch.Tensor, *, again: Any = None) -> torch.Tensor:
        """On the CPU find what the kept magnitudes exceed and compare with that, unless equals straddle the cut."""
        if score.is_cpu and not torch.compiler.is_compiling() and not transforming():
            margin = find_margin([score.detach()], kept_count(self.density, score.numel()))
            if margin is not None:
                return self._beyond(margin, score, value)
        return super().select(score, value)

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

    def _beyond(self, margin: float, score: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        """Return the weights where the kept magnitudes are those that exceed a margin."""
        if self.alphabet == "keep":
            return keep_beyond(margin, score, value)
        if self.alphabet == "ternary":
            return keep_beyond(margin, score, with_sign_of(score, value))
        # Bits of magnitudes are ordered as the magnitudes are: their difference has the sign of the comparison.
        bits = score.view(torch.int32).bitwise_and(~SIGN_BIT)
        flip = bits.sub_(int(np.float32(margin).view(np.int32)) + 1).bitwise_and_(SIGN_BIT)
        return flip.bitwise_xor_(value.view(torch.int32)).view(torch.float32)
