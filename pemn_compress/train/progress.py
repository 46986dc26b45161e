"""What a training run tells whoever watches."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

__all__ = ["EpochReport", "Everyone", "Progress", "StepReport", "Watch", "unheard", "unwatched"]


@dataclasses.dataclass(frozen=True)
class StepReport:
    """A moment inside an epoch; `step` counts finished steps of this epoch, `loss` is the mean of the recent ones."""

    epoch: int
    epochs: int
    step: int
    steps: int
    loss: float
    images_per_second: float


@dataclasses.dataclass(frozen=True)
class EpochReport:
    """One finished epoch; accuracies in percent, losses in nats, `lr` that of the last step.

    `densities` holds every masked tensor's fraction of nonzero weights, `density` that of all of them together (None
    for a dense model), `estimated_bytes` the size of the file an export would write now. `rate` is the price of bits in
    the last step and part of `train_loss`; `bits_per_weight` is the Shannon bound of the masks over their weights.
    """

    epoch: int
    train_loss: float
    train_accuracy: float
    validation_loss: float | None
    validation_accuracy: float | None
    test_loss: float | None
    test_accuracy: float | None
    lr: float
    density: float | None
    densities: dict[str, float]
    estimated_bytes: int
    images_per_second: float
    seconds: float
    best: bool
    rate: float = 0.0
    bits_per_weight: float | None = None

    def to_dict(self) -> dict[str, object]:
        """The fields as JSON values; one line of `metrics.jsonl`."""
        return dataclasses.asdict(self)


class Progress:
    """Receives reports during training; this one ignores them, a subclass shows them."""

    def step(self, report: StepReport) -> None:
        """Called every few steps."""

    def epoch(self, report: EpochReport) -> None:
        """Called after every epoch, when its checkpoint is on disk."""

    def note(self, text: str) -> None:
        """Called with one line that a user should see, such as a damaged checkpoint that was passed over."""


class Everyone(Progress):
    """Passes every report on to several others, in their order."""

    def __init__(self, *others: Progress) -> None:
        self._others = others

    def step(self, report: StepReport) -> None:
        """Pass it on."""
        for other in self._others:
            other.step(report)

    def epoch(self, report: EpochReport) -> None:
        """Pass it on."""
        for other in self._others:
            other.epoch(report)

    def note(self, text: str) -> None:
        """Pass it on."""
        for other in self._others:
            other.note(text)


Watch = Callable[[int], AbstractContextManager[Progress]]
"""Opens what shows a training of so many epochs, for as long as it lasts."""


def unwatched(epochs: int) -> AbstractContextManager[Progress]:
    """A `Watch` that shows nothing."""
    return nullcontext(Progress())


def unheard(line: str) -> None:
    """Take a line that nobody is to see."""
