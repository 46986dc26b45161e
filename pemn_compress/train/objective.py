"""What training makes small: the loss of one batch."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from pemn_compress.penalty import penalty
from pemn_compress.train.config import TrainConfig
from pemn_compress.train.rate_control import check_rate

__all__ = ["Objective"]


class Objective:
    """The loss of a batch: cross-entropy against smoothed labels, and the price of the masks' bits.

    Attributes:
        rate: the price of one bit a weight in nats; may change between steps.

    Args:
        model: what is trained, as it is without any wrapper.
        config: the recipe.
        priced: whether bits may ever have a price.

    Raises:
        PemnError: bits have a price, but the model has no masks or ones of fixed density.
    """

    def __init__(self, model: nn.Module, config: TrainConfig, *, priced: bool = False) -> None:
        self._model, self._config = model, config
        self._weights = check_rate(model) if priced else 0
        self.rate = 0.0

    def __call__(self, forward: Callable[[Tensor], Tensor], images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """The loss in nats, to be differentiated, and what `forward` makes of the images."""
        output = forward(images)
        loss = nn.functional.cross_entropy(output, labels, label_smoothing=self._config.label_smoothing)
        if self.rate:
            loss = loss + self.rate / self._weights * penalty(self._model)
        return loss, output
