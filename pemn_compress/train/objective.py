"""What training makes small: the loss of one batch."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from pemn_compress.train.config import TrainConfig

__all__ = ["Objective"]


class Objective:
    """The loss of a batch: cross-entropy against smoothed labels.

    Args:
        config: the recipe.
    """

    def __init__(self, config: TrainConfig) -> None:
        self._config = config

    def __call__(self, forward: Callable[[Tensor], Tensor], images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """The loss in nats, to be differentiated, and what `forward` makes of the images."""
        output = forward(images)
        loss = nn.functional.cross_entropy(output, labels, label_smoothing=self._config.label_smoothing)
        return loss, output
