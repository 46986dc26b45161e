"""The losses and hits of one epoch, kept on the device until somebody asks."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from pemn_compress.train.distributed import Ranks, sum_
from pemn_formats.errors import PemnError

__all__ = ["Losses"]

_REPORT_EVERY = 20


class Losses:
    """Collects every step's loss and hits without waiting for the device, or for other processes.

    Args:
        sizes: the images of every step, over all processes.
        device: where the losses are.
        ranks: who trains.
    """

    def __init__(self, sizes: Sequence[int], device: torch.device, ranks: Ranks) -> None:
        self._sizes, self._steps, self._ranks = sizes, len(sizes), ranks
        self._losses: list[Tensor] = []
        self._correct = torch.zeros((), dtype=torch.int64, device=device)
        self.images = 0

    def add(self, loss: Tensor, output: Tensor, labels: Tensor) -> None:
        """Take one step's mean loss over this process's images, and count its hits; neither may have a graph."""
        images = self._sizes[self.step]
        share = self._ranks.weight(images) / self._ranks.size
        self._losses.append(loss * share)
        if share:
            self._correct += (output.argmax(1) == labels).sum()
        self.images += images

    @property
    def step(self) -> int:
        """Steps so far."""
        return len(self._losses)

    @property
    def due(self) -> bool:
        """Whether it is time for a report: every 20 steps, and after the last."""
        return self.step % _REPORT_EVERY == 0 or self.step == self._steps

    def recent(self, epoch: int, advice: str) -> float:
        """The mean loss since the last report, over all processes.

        Raises:
            PemnError: one of them is no number; the message names `epoch` and ends with `advice`.
        """
        first = (self.step - 1) // _REPORT_EVERY * _REPORT_EVERY
        recent = sum_(torch.stack(self._losses[first:]))
        self._losses[first:] = recent.unbind()
        bad = torch.nonzero(~recent.isfinite()).flatten().tolist()
        if bad:
            where = f"epoch {epoch}, step {first + bad[0] + 1} of {self._steps}"
            raise PemnError(f"the loss became {float(recent[bad[0]])} in {where}: {advice}")
        return float(recent.mean())

    def summary(self) -> tuple[float, float]:
        """The mean loss, and the accuracy in percent, once the last loss was reported."""
        return float(torch.stack(self._losses).double().mean()), 100 * int(sum_(self._correct)) / self.images
