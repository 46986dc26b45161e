"""Several processes that train one model together: who does what, and how they agree."""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
import os
import warnings
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from pemn_compress.data import DataSpec, ImageSet
from pemn_compress.train.evaluate import Evaluation, evaluate
from pemn_formats.errors import PemnError

__all__ = [
    "LostProcessError",
    "Ranks",
    "evaluate_together",
    "from_first",
    "mean_",
    "on_all",
    "process_group",
    "ranks",
    "replicate",
    "settle_",
    "sum_",
    "training_together",
]

_T = TypeVar("_T")
_PATIENCE = timedelta(minutes=30)  # for the slowest process to load its images; one that dies is noticed at once


class LostProcessError(PemnError):
    """Another process of the run ended or cannot be reached."""


@dataclasses.dataclass(frozen=True)
class Ranks:
    """This process, counted from 0, among the `size` that train one model together."""

    rank: int = 0
    size: int = 1

    @property
    def first(self) -> bool:
        """Whether this is the process that writes and reports."""
        return self.rank == 0

    def part(self, count: int) -> slice:
        """This process's part of a batch of `count` images.

        BatchNorm needs two images. Where there are too few for all, the last processes repeat parts of the first ones,
        and their `weight` is 0.
        """
        parts = self._parts(count)
        index = self.rank % parts
        return slice(index * count // parts, (index + 1) * count // parts)

    def weight(self, count: int) -> float:
        """What to multiply the mean loss over `part(count)` by.

        The mean over the processes, which is what DistributedDataParallel makes of gradients, is then the mean over the
        batch, of whatever sizes the parts are.
        """
        part = self.part(count)
        return (part.stop - part.start) * self.size / count if self.rank < self._parts(count) else 0.0

    def _parts(self, count: int) -> int:
        return min(self.size, max(1, count // 2))


def ranks() -> Ranks:
    """This process's place in torch's default process group; alone where there is none."""
    return Ranks(dist.get_rank(), dist.get_world_size()) if _grouped() else Ranks()


@contextlib.contextmanager
def process_group() -> Iterator[None]:
    """Join the processes that `torchrun` started beside this one; nobody leaves before all are done."""
    on_gpu = torch.cuda.is_available() and dist.is_nccl_available()
    dist.init_process_group("cpu:gloo,cuda:nccl" if on_gpu else "gloo", timeout=_PATIENCE)
    if on_gpu:
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", 0)) % torch.cuda.device_count())
    try:
        yield
        on_all(lambda: None)
    finally:
        dist.destroy_process_group()


def from_first(make: Callable[[], _T]) -> _T:
    """What `make` gives in the first process, in all of them; a `PemnError` there is raised in all."""
    if not _grouped():
        return make()
    box: list[tuple[_T | None, PemnError | None]] = [(None, None)]
    if ranks().first:
        box = [_outcome(make)]
    dist.broadcast_object_list(box)
    found, error = box[0]
    if error is not None:
        raise error
    return found  # type: ignore[return-value]


def on_all(make: Callable[[], _T]) -> _T:
    """What `make` gives in each process; a `PemnError` in any of them is raised in all.

    The first process of a machine goes before its others, which find there what it downloaded.
    """
    if not _grouped():
        return make()
    mine: tuple[_T | None, PemnError | None] = (None, None)
    leads = int(os.environ.get("LOCAL_RANK", ranks().rank)) == 0
    for turn in (leads, not leads):
        if turn:
            mine = _outcome(make)
        errors: list[PemnError | None] = [None] * ranks().size
        dist.all_gather_object(errors, mine[1])
        for error in errors:
            if error is not None:
                raise error
    return mine[0]  # type: ignore[return-value]


def sum_(value: Tensor) -> Tensor:
    """Replace a tensor by its sum over all processes, and return it."""
    if _grouped():
        dist.all_reduce(value)
    return value


def replicate(model: nn.Module, spec: DataSpec) -> nn.Module:
    """The module to train: one whose backward pass averages gradients over the processes, if there are several.

    Parameters and buffers become those of the first process here. BatchNorm normalises by each process's own images;
    `settle_` makes one set of running statistics of all of theirs.
    """
    if not _grouped():
        return model
    for value in _saved(model):
        dist.broadcast(value, 0)
    unused = _has_unused(model, spec)
    # `settle_` sees to the buffers, once an epoch. Older versions of torch call the argument broadcast_buffers.
    known = inspect.signature(nn.parallel.DistributedDataParallel).parameters
    buffers: dict[str, Any] = {
        "forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers": False
    }
    return nn.parallel.DistributedDataParallel(
        model, gradient_as_bucket_view=True, find_unused_parameters=unused, **buffers
    )


@torch.no_grad()
def mean_(value: Tensor) -> Tensor:
    """Replace a tensor by its mean over all processes, and return it; exact where all have the same float32."""
    return value.copy_(sum_(value.double()) / ranks().size) if _grouped() else value


@torch.no_grad()
def settle_(model: nn.Module) -> nn.Module:
    """Make a model the same in all processes, to the bit.

    Floating numbers become their mean. Parameters are equal already, on equal hardware. BatchNorm's running statistics
    are not: parts of a batch estimate the same mean and (unbiased) variance as the batch, and a moving average of means
    is the mean of moving averages. Counters become those of the first process.
    """
    if _grouped():
        for value in _saved(model):
            mean_(value) if value.is_floating_point() else dist.broadcast(value, 0)
    return model


def evaluate_together(
    model: nn.Module, images: ImageSet, spec: DataSpec, *, device: torch.device | str = "cpu"
) -> Evaluation:
    """`evaluate`, each process looking at its share of the images; the result is the same in all."""
    here = ranks()
    if here.size == 1:
        return evaluate(model, images, spec, device=device)
    count = len(images)
    share = slice(here.rank * count // here.size, (here.rank + 1) * count // here.size)
    counts = torch.zeros(2, dtype=torch.float64, device=device)
    if share.start < share.stop:
        found = evaluate(model, images.subset(share), spec, device=device)
        counts += torch.tensor([found.correct, found.loss * found.count], dtype=torch.float64, device=device)
    correct, loss = sum_(counts).tolist()
    hits = int(correct)
    return Evaluation(100 * hits / count, loss / count, hits, count)


@contextlib.contextmanager
def training_together() -> Iterator[None]:
    """Turn what torch raises inside the block when another process is gone into `LostProcessError`.

    What it warns of besides is no news: 1x1 kernels in channels-last memory have strides of several spellings.
    """
    if not _grouped():
        yield
        return
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Grad strides do not match bucket view strides")
        try:
            yield
        except RuntimeError as error:
            if not isinstance(error, dist.DistError) and "/gloo/" not in str(error):
                raise
            detail = str(error).splitlines()[0].rpartition(".cc:")[2].partition("] ")[2].partition(". ")[0]
            raise LostProcessError(
                f"another process of this run ended or cannot be reached ({detail or type(error).__name__})"
            ) from None


def _grouped() -> bool:
    return dist.is_available() and dist.is_initialized()


def _saved(model: nn.Module) -> list[Tensor]:
    """The parameters and buffers themselves that a checkpoint holds."""
    return [value for value in model.state_dict().values() if isinstance(value, Tensor)]


def _outcome(make: Callable[[], _T]) -> tuple[_T | None, PemnError | None]:
    try:
        return make(), None
    except PemnError as error:
        return None, error


def _has_unused(model: nn.Module, spec: DataSpec) -> bool:
    """Whether the loss leaves some parameters without a gradient, which DistributedDataParallel must be told."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if not trained:
        return False
    was_training = model.training
    output = model.eval()(torch.zeros(2, spec.channels, *spec.size, device=trained[0].device))
    model.train(was_training)
    return any(found is None for found in torch.autograd.grad(output.sum(), trained, allow_unused=True))
