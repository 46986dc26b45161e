"""The price of a mask's bits during a run, and which epochs may win."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from pemn_compress.masking import masked_weights
from pemn_compress.penalty import penalty
from pemn_compress.train.size_estimate import MaskCount, foresee_bytes
from pemn_formats.errors import PemnError

__all__ = ["RateControl", "check_rate"]


class RateControl:
    """Keeps one price for the whole run and lets every epoch win; a subclass may steer towards a file's size.

    A price is in nats of loss for one bit a weight: what is added to the loss is the price times `penalty(model)` over
    the number of masked weights, so the same price means the same for nets of any size.

    Args:
        rate: the price.
        residual_dtype: what the run's file rounds everything to that is not masked, for estimates of its size.
    """

    def __init__(self, rate: float = 0.0, *, residual_dtype: str = "float16") -> None:
        self.rate, self.residual_dtype = rate, residual_dtype

    @property
    def priced(self) -> bool:
        """Whether bits may ever have a price."""
        return self.rate > 0 or type(self) is not RateControl

    def price(self, model: nn.Module, step: int, steps: int) -> float:
        """The price of step `step` of `steps`, both over the whole run, asked before the step; 0 costs no time."""
        return self.rate

    def bits(self, model: nn.Module) -> torch.Tensor:
        """What the price is for, to be differentiated: the bits of all masks, or something that falls with them."""
        return penalty(model)

    def bring_down_(self, model: nn.Module, epoch: int, epochs: int) -> None:
        """Change the masks of a model that epoch `epoch` of `epochs` left too large, before it is measured."""

    def foresee(self, model: nn.Module, masks: Sequence[MaskCount], described: Mapping[str, Any]) -> int:
        """The bytes of the file that an export would write now, or an estimate of them, as `foresee_bytes`."""
        return foresee_bytes(model, masks, self.residual_dtype, described=described)

    def admits(self, model: nn.Module, size: int) -> bool:
        """Whether the epoch just finished may be the best one; `size` is what `foresee` gave.

        An epoch that may not is remembered only until one comes that may.
        """
        return True

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps, so that a resumed run goes on with the same prices: tensors, numbers, strings."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take what `state_dict` gave."""


@torch.no_grad()
def check_rate(model: nn.Module) -> int:
    """The number of masked weights of a model whose bits can be priced.

    Raises:
        PemnError: nothing is masked, or the learner fixes the density.
    """
    masked = masked_weights(model)
    if not masked:
        raise PemnError("rate is the price of a mask's bits, and nothing is masked here; leave it out")
    penalty(model)
    return sum(score.numel() for _, _, score in masked)
