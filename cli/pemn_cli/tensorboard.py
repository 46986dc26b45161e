"""What TensorBoard sees of a run: the numbers of `metrics.jsonl`, as event files in the run's folder."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from pemn_compress.train.progress import EpochReport, Progress
from pemn_formats.errors import PemnError

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

__all__ = ["TensorBoard", "check_tensorboard"]


def check_tensorboard() -> None:
    """Raise `PemnError` when there is no tensorboard to write with."""
    try:
        import torch.utils.tensorboard  # noqa: F401
    except ImportError:
        raise PemnError("--tensorboard needs tensorboard: pip install 'pemn-compress[tensorboard]'") from None


class TensorBoard(Progress):
    """Writes every finished epoch; epochs that a resumed run repeats replace the earlier ones.

    Args:
        folder: where the event file goes; it is made with the first report.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._writer: SummaryWriter | None = None

    def __enter__(self) -> TensorBoard:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._writer is not None:
            self._writer.close()

    def epoch(self, report: EpochReport) -> None:
        if self._writer is None:
            from torch.utils.tensorboard import SummaryWriter

            self._writer = SummaryWriter(str(self._folder), purge_step=report.epoch)
        for name, value in _scalars(report).items():
            self._writer.add_scalar(name, value, report.epoch)
        self._writer.flush()


def _scalars(report: EpochReport) -> dict[str, float]:
    """Name to value, grouped by the part before the slash; what was not measured is left out."""
    found = {
        "loss/train": report.train_loss,
        "loss/validation": report.validation_loss,
        "loss/test": report.test_loss,
        "accuracy/train": report.train_accuracy,
        "accuracy/validation": report.validation_accuracy,
        "accuracy/test": report.test_accuracy,
        "file/estimated_bytes": report.estimated_bytes,
        "file/bits_per_weight": report.bits_per_weight,
        "density/all": report.density,
        "schedule/lr": report.lr,
        "schedule/rate": report.rate,
        "speed/images_per_second": report.images_per_second,
    }
    layers = {f"density/{name}": density for name, density in report.densities.items()}
    return {name: float(value) for name, value in {**found, **layers}.items() if value is not None}
