"""How a weight is chosen where comparing its score with a number is enough, so that many can be at once."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch

from pemn_compress.line import SIGN_BIT, keep_beyond, with_sign_of

__all__ = ["ABOVE", "BEYOND", "Comparison"]

ABOVE = {"keep": 0, "sign": 1}
"""Rules that ask whether the score is above zero, by alphabet; numbered as `pemn_formats.native` has them."""

BEYOND = {"keep": 2, "sign": 3, "ternary": 4}
"""Those that ask whether its magnitude exceeds a margin."""


class Comparison(NamedTuple):
    """The rule, its margin, and whether the gradient goes by the sign of the score, which else passes as it is."""

    rule: int
    margin: float
    by_sign: bool

    def select(self, score: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        """Return the weights of float32 values: what the compiled loops give, to the bit.

        The backward of torch's threshold is `value where score > 0, else +0.0`, and that of its hardshrink the same for
        a magnitude; both are vectorised everywhere.
        """
        rule = self.rule
        if rule == ABOVE["keep"]:
            weight: torch.Tensor = torch.ops.aten.threshold_backward.default(value, score, 0)
            return weight
        if rule == BEYOND["keep"]:
            return keep_beyond(self.margin, score, value)
        if rule == BEYOND["ternary"]:
            return keep_beyond(self.margin, score, with_sign_of(score, value))
        bits = score.view(torch.int32)
        if rule == ABOVE["sign"]:  # as an integer, at most 0 exactly where the score is
            flip = bits.sub(1).bitwise_or_(bits).bitwise_and_(SIGN_BIT)
        else:  # bits of magnitudes are ordered as the magnitudes are: their difference has the comparison's sign
            flip = bits.bitwise_and(~SIGN_BIT)
            flip = flip.sub_(int(np.float32(self.margin).view(np.int32)) + 1).bitwise_and_(SIGN_BIT)
        return flip.bitwise_xor_(value.view(torch.int32)).view(torch.float32)
