"""Mean and standard deviation of pixels, exact to the last digit that is kept."""

from __future__ import annotations

from decimal import Decimal, localcontext

import numpy as np
import numpy.typing as npt

__all__ = ["mean_and_std"]

_CHUNK = 1_024
_PLACES = Decimal("0.0001")


def mean_and_std(images: npt.NDArray[np.uint8]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return each channel's mean and population deviation over uint8 [n, c, h, w], in units of 255, to 4 decimals.

    Sums are whole numbers and the root is a decimal one, so that every platform writes the same digits.
    A channel that does not vary (to 4 decimals) gets the deviation 1.0000.
    """
    pairs = [_of_counts(_histogram(images[:, channel])) for channel in range(images.shape[1])]
    return tuple(mean for mean, _ in pairs), tuple(std for _, std in pairs)


def _histogram(channel: npt.NDArray[np.uint8]) -> list[int]:
    counts = np.zeros(256, dtype=np.int64)
    for start in range(0, len(channel), _CHUNK):
        counts += np.bincount(channel[start : start + _CHUNK].ravel(), minlength=256)
    return [int(count) for count in counts]


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
