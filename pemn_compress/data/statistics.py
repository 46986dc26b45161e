"""Mean and standard deviation of pixels, exact to the last digit that is kept."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal, localcontext

import numpy as np
import numpy.typing as npt

__all__ = ["mean_and_std"]

_CHUNK = 1_024
_PLACES = Decimal("0.0001")

Decimals = tuple[str, ...]


def mean_and_std(images: npt.NDArray[np.uint8] | Iterable[npt.NDArray[np.uint8]]) -> tuple[Decimals, Decimals]:
    """Return each channel's mean and population deviation over uint8 [n, c, h, w], in units of 255, to 4 decimals.

    The images may come in several such blocks. Sums are whole numbers and the root is a decimal one, so that every
    platform writes the same digits. A channel that does not vary (to 4 decimals) gets the deviation 1.0000.
    """
    blocks = [images] if isinstance(images, np.ndarray) else images
    counts = np.zeros((0, 256), dtype=np.int64)
    for block in blocks:
        found = np.stack([_histogram(block[:, channel]) for channel in range(block.shape[1])])
        counts = counts + found if len(counts) else found
    pairs = [_of_counts([int(count) for count in channel]) for channel in counts]
    return tuple(mean for mean, _ in pairs), tuple(std for _, std in pairs)


def _histogram(channel: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
    counts = np.zeros(256, dtype=np.int64)
    for start in range(0, len(channel), _CHUNK):
        counts += np.bincount(channel[start : start + _CHUNK].ravel(), minlength=256)
    return counts


def _of_counts(counts: list[int]) -> tuple[str, str]:
    total = sum(counts)
    first = sum(value * count for value, count in enumerate(counts))
    second = sum(value * value * count for value, count in enumerate(counts))
    with localcontext() as context:
        context.prec = 60
        unit = Decimal(255 * total)
        mean = (Decimal(first) / unit).quantize(_PLACES)
        std = (Decimal(total * second - first * first).sqrt() / unit).quantize(_PLACES)
    return str(mean), str(std) if std else "1.0000"
