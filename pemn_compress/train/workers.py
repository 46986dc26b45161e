"""Worker processes that read images, change them one after another, and hand over whole batches ahead of time."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler, default_collate

from pemn_compress.data import ImageSet
from pemn_compress.train.augment import ImageAugment
from pemn_formats.errors import PemnError

__all__ = ["Batch", "batch_loader", "default_workers"]

_AHEAD = 2  # batches that each worker prepares before they are asked for
_MOST_WORKERS = 8

Batch = tuple[Tensor, Tensor] | PemnError
"""Images, uint8 (n, channels, height, width), with their labels, or what kept a worker from making them."""

_Key = tuple[int, int]


def default_workers() -> int:
    """One process for each processor that this one may use, up to 8, shared among the processes that train together."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(_MOST_WORKERS, allowed // int(os.environ.get("LOCAL_WORLD_SIZE", 1))))


def batch_loader(
    images: ImageSet, augment: ImageAugment | None, sampler: Sampler[list[_Key]], *, workers: int, pin: bool
) -> Iterable[Batch]:
    """Batches of what `sampler` draws, (index, seed) of each image, in its order, whatever the number of workers.

    Args:
        images: what to draw from; files are decoded by the workers.
        augment: changes an image by its seed; None leaves it as it is.
        sampler: the batches.
        workers: processes; 0 does it in this one.
        pin: leave batches in pinned memory, for a GPU.
    """
    return DataLoader(
        _Drawn(images, augment),
        batch_sampler=sampler,
        num_workers=workers,
        persistent_workers=workers > 0,
        prefetch_factor=_AHEAD if workers else None,
        pin_memory=pin,
        generator=torch.Generator(),
        collate_fn=_collate,
    )


class _Drawn(Dataset[Any]):
    def __init__(self, images: ImageSet, augment: ImageAugment | None) -> None:
        self._images, self._augment = images, augment

    def __getitem__(self, key: _Key) -> tuple[Tensor, Tensor] | PemnError:
        index, seed = key
        try:
            image = self._images.image(index)
        except PemnError as error:
            return error  # torch would raise it in the other process with the worker's traceback in its text
        return image if self._augment is None else self._augment(image, seed), self._images.labels[index]


def _collate(drawn: list[tuple[Tensor, Tensor] | PemnError]) -> Batch:
    for each in drawn:
        if isinstance(each, PemnError):
            return each
    batch: Batch = tuple(default_collate(drawn))
    return batch
