"""What every kind of data set offers: its classes, and two functions that read its images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pemn_compress.data.files import ImageFiles

__all__ = ["Labelled", "Reading", "Source"]


@dataclass(frozen=True, eq=False)
class Labelled:
    """Images, labels, int64 [n], and the names of files that were skipped.

    The images are files, or an array, uint8 [n, c, h, w], that nobody else uses.
    """

    images: npt.NDArray[np.uint8] | ImageFiles
    labels: npt.NDArray[np.int64]
    skipped: tuple[str, ...] = ()

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of an image."""
        found = self.images.shape
        return found[-3], found[-2], found[-1]


@dataclass(frozen=True)
class Reading:
    """How images are read: `size` (height, width) and `channels` (1 or 3) are the data's own where None."""

    size: tuple[int, int] | None = None
    channels: int | None = None
    skip_corrupt: bool = False
    from_disk: bool = False


@dataclass(frozen=True, eq=False)
class Source:
    """A data set before it is read, which folders of files still are after it.

    `constants` is its published (mean, std), where there is one.
    """

    class_names: tuple[str, ...]
    train: Callable[[Reading], Labelled]
    test: Callable[[Reading], Labelled]
    constants: tuple[tuple[str, ...], tuple[str, ...]] | None = None
