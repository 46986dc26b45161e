"""What a person sees of a run while it trains: a bar on a terminal, a line an epoch anywhere else."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import TYPE_CHECKING

from pemn_cli.output import status, stderr_console
from pemn_compress.train.progress import EpochReport, Progress, StepReport

if TYPE_CHECKING:
    from rich.progress import Progress as Bar
    from rich.progress import TaskID

__all__ = ["Display"]

_TEXT_WIDTH = 74  # columns that the words and numbers beside the bar take


class Display(Progress):
    """Shows reports on stderr; `epoch_now` is the epoch that is under way, counted from 1.

    Args:
        epochs: how many there are.
        first: the one that comes first.
        mark: a word before each line, such as `trial`, for a training that is not the run itself.
    """

    def __init__(self, epochs: int, first: int = 1, *, mark: str = "") -> None:
        self.epochs, self.epoch_now = epochs, first
        self._mark = f"{mark} " if mark else ""
        self._first = first
        self._bar: Bar | None = None
        self._task: TaskID | None = None
        self._last = ""

    def __enter__(self) -> Display:
        if sys.stderr.isatty():
            from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
            from rich.progress import Progress as Bar
            from rich.table import Column

            console = stderr_console()
            room = len(self._mark) + 2 * len(str(self.epochs)) + 1
            epoch = Column(no_wrap=True, min_width=room)  # a narrow terminal cuts the rest
            columns = (
                TextColumn("{task.description}", table_column=epoch),
                BarColumn(min(30, max(4, console.width - _TEXT_WIDTH))),
                TimeRemainingColumn(),
                TextColumn("{task.fields[state]}"),
            )
            self._bar = Bar(*columns, console=console, transient=True)
            self._task = self._bar.add_task(self._where(), total=1000 * (self.epochs - self._first + 1), state="")
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def step(self, report: StepReport) -> None:
        self.epoch_now = report.epoch
        if self._bar is not None and self._task is not None:
            done = 1000 * (report.epoch - self._first + report.step / report.steps)
            state = f"{report.images_per_second:,.0f} img/s loss {report.loss:.3f}{self._last}"
            self._bar.update(self._task, completed=done, description=self._where(), state=state)

    def epoch(self, report: EpochReport) -> None:
        self.epoch_now = min(report.epoch + 1, self.epochs)
        if self._bar is None:
            status(self._line(report))
        else:
            accuracy = report.test_accuracy if report.validation_accuracy is None else report.validation_accuracy
            density = "" if report.density is None else f" density {report.density:.3f}"
            self._last = f" acc {accuracy:.2f} %{density} {report.estimated_bytes / 1000:,.1f} kB"

    def note(self, text: str) -> None:
        status(f"warning: {text}")

    def _where(self) -> str:
        return f"{self._mark}{self.epoch_now}/{self.epochs}"

    def _line(self, report: EpochReport) -> str:
        speed = f"{report.images_per_second:,.0f} img/s"
        parts = (
            f"{self._mark}epoch {report.epoch}/{self.epochs}",
            f"loss {report.train_loss:.3f}",
            *self._parts(report),
            speed,
        )
        return "  ".join(parts) + ("  best" if report.best and not self._mark else "")

    @staticmethod
    def _parts(report: EpochReport) -> list[str]:
        parts = []
        for name, accuracy in (("validation", report.validation_accuracy), ("test", report.test_accuracy)):
            if accuracy is not None:
                parts.append(f"{name} {accuracy:.2f} %")
        if report.density is not None:
            parts.append(f"density {report.density:.3f}")
        return [*parts, f"about {report.estimated_bytes:,} B"]
