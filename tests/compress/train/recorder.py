"""A watcher of runs, and whether two runs ended in the same state."""

from __future__ import annotations

import pytest
import torch

from pemn_compress.train.progress import EpochReport, Progress, StepReport
from pemn_compress.train.run import RunFolder

__all__ = ["Recorder", "assert_same"]


class Recorder(Progress):
    """Keeps what it is told; raises `KeyboardInterrupt` at the first report of epoch `stop_in`."""

    def __init__(self, stop_in: int = 0) -> None:
        self.epochs: list[EpochReport] = []
        self.steps: list[StepReport] = []
        self.notes: list[str] = []
        self._stop_in = stop_in

    def step(self, report: StepReport) -> None:
        self.steps.append(report)
        if report.epoch == self._stop_in:
            raise KeyboardInterrupt

    def epoch(self, report: EpochReport) -> None:
        self.epochs.append(report)

    def note(self, text: str) -> None:
        self.notes.append(text)


def assert_same(left: RunFolder, right: RunFolder) -> None:
    """Equal weights, best weights, optimizer and records, but for times."""
    first, second = _state(left), _state(right)
    assert first.keys() == second.keys()
    assert all(value.equal(second[name]) for name, value in first.items())
    drop = ("seconds", "images_per_second")
    records = [
        [{k: v for k, v in record.items() if k not in drop} for record in run.metrics()] for run in (left, right)
    ]
    assert records[0] == records[1]


def _state(run: RunFolder) -> dict[str, torch.Tensor]:
    found = run.newest_checkpoint(pytest.fail)
    assert found is not None
    flat = {f"model.{name}": value for name, value in found["model"].items()}
    flat |= {f"best.{name}": value for name, value in found["best"]["model"].items()}
    for number, moments in found["optimizer"]["state"].items():
        flat |= {f"optimizer.{number}.{name}": value for name, value in moments.items()}
    return flat
