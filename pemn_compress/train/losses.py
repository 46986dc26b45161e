"""The losses and hits of one epoch, kept on the device until somebody asks."""

from __future__ import annotations

import torch
from torch import Tensor

from pemn_formats.errors import PemnError

__all__ = ["Losses"]

_REPORT_EVERY = 20


class Losses:
    """Collects every step's loss and hits without waiting for the device.

    Args:
        steps: how many steps the epoch has.
        device: where the losses are.
    """

    def __init__(self, steps: int, device: torch.device) -> None:
        self._steps = steps
        self._losses: list[Tensor] = []
        self._correct = torch.zeros((), dtype=torch.int64, device=device)
        self.images = 0

    def add(self, loss: Tensor, output: Tensor, labels: Tensor) -> None:
        """Take one step's loss, and count its hits."""
        self._losses.append(loss.detach())
        self._correct += (output.detach().argmax(1) == labels).sum()
        self.images += len(labels)

    @property
    def step(self) -> int:
        """Steps so far."""
        return len(self._losses)

    @property
    def due(self) -> bool:
        """Whether it is time for a report: every 20 steps, and after the last."""
        return self.step % _REPORT_EVERY == 0 or self.step == self._steps

    def recent(self, epoch: int, advice: str) -> float:
        """The mean loss since the last report.

        Raises:
            PemnError: one of them is no number; the message names `epoch` and ends with `advice`.
        """
        first = (self.step - 1) // _REPORT_EVERY * _REPORT_EVERY
        recent = torch.stack(self._losses[first:])
        bad = torch.nonzero(~recent.isfinite()).flatten().tolist()
        if bad:
            where = f"epoch {epoch}, step {first + bad[0] + 1} of {self._steps}"
            raise PemnError(f"the loss became {float(recent[bad[0]])} in {where}: {advice}")
        return float(recent.mean())

    def summary(self) -> tuple[float, float]:
        """The mean loss, and the accuracy in percent."""
        return float(torch.stack(self._losses).double().mean()), 100 * int(self._correct) / self.images
