"""What training makes small: the loss of one batch."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from pemn_compress.train.config import TrainConfig
from pemn_compress.train.distillation import Distillation
from pemn_compress.train.mixing import Mixing
from pemn_compress.train.rate_control import RateControl, check_rate

__all__ = ["Objective"]


class Objective:
    """The loss of a batch: cross-entropy of mixed images against smoothed labels, a teacher, and the price of bits.

    Attributes:
        rate: the price of one bit a weight in nats; may change between steps.

    Args:
        model: what is trained, as it is without any wrapper.
        config: the recipe.
        classes: how many there are.
        teacher: a net to learn from, on the model's device; None learns from labels alone.
        control: says what has a price, and whether it ever has one; None is the constant price of `config`.

    Raises:
        PemnError: bits have a price, but the model has no masks or ones of fixed density.
    """

    def __init__(
        self,
        model: nn.Module,
        config: TrainConfig,
        classes: int,
        *,
        teacher: nn.Module | None = None,
        control: RateControl | None = None,
    ) -> None:
        self._model, self._smoothing = model, config.label_smoothing
        self._control = control or RateControl(config.rate)
        self._weights = check_rate(model) if self._control.priced else 0
        self._mixing = Mixing(config, classes)
        self._distillation = teacher and Distillation(teacher, config.teacher_weight, config.teacher_temperature)
        self.rate = 0.0

    def __call__(
        self, forward: Callable[[Tensor], Tensor], images: Tensor, labels: Tensor, step: int
    ) -> tuple[Tensor, Tensor]:
        """The loss in nats, to be differentiated, and what `forward` makes of the images.

        `step` counts over the whole run. Where images are mixed the output is that of the mixed ones.
        """
        images, targets = self._mixing(images, labels, step)
        output = forward(images)
        loss = nn.functional.cross_entropy(output, targets, label_smoothing=self._smoothing)
        if self._distillation is not None:
            loss = self._distillation(loss, output, images)
        if self.rate:
            loss = loss + self.rate / self._weights * self._control.bits(self._model)
        return loss, output
