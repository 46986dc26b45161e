"""Images kept where they are used."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

import torch

from pemn_compress.data import ImageSet, Splits
from pemn_formats.errors import PemnError

__all__ = ["on_device", "watched_on_device"]


def on_device(images: ImageSet, device: torch.device) -> ImageSet:
    """Return the same images with pixels and labels on a device; images that stay in files stay there.

    Raises:
        PemnError: the device has no room for them.
    """
    if images.from_disk:
        return images
    try:
        return ImageSet(images.images.to(device), images.labels.to(device))
    except torch.OutOfMemoryError:
        size = images.images.nbytes / 2**30
        raise PemnError(
            f"{len(images)} images take {size:.1f} GiB, which {device} does not have free; "
            "keep them in the host's memory with --workers 4"
        ) from None


def watched_on_device(splits: Splits, watched: Iterable[str], device: torch.device) -> Splits:
    """Return the same splits, those that every epoch is measured on kept on a device.

    Raises:
        PemnError: as `on_device`.
    """
    near: dict[str, Any] = {split: on_device(getattr(splits, split), device) for split in watched}
    return dataclasses.replace(splits, **near)
