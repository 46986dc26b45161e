"""Images that stay in their files and are decoded each time that they are asked for."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from pemn_compress.data.pixels import to_pixels
from pemn_formats.errors import PemnError

__all__ = ["ImageFiles", "UnreadableImageError"]


class UnreadableImageError(PemnError):
    """A file of an image is not there, or is no image that can be decoded whole."""


@dataclass(frozen=True, eq=False)
class ImageFiles:
    """Files of images of one shape.

    `names`, relative to `top`, are one array of the system's bytes: a million of them take little memory, and worker
    processes share it. `shape` is (channels, height, width) once decoded. Files that are not `resized` must have that
    height and width themselves.
    """

    top: Path
    names: npt.NDArray[np.bytes_]
    shape: tuple[int, int, int]
    resized: bool

    @classmethod
    def of(
        cls, files: Sequence[Path], top: Path, *, size: tuple[int, int] | None, channels: int = 3, skip: bool = False
    ) -> ImageFiles:
        """Name files under `top`; without a `size`, (height, width), that of the first one counts for all.

        Raises PemnError when that one cannot be read; with `skip`, when none can.
        """
        start = len(os.fsencode(top / "_")) - 1
        names = np.array([os.fsencode(file)[start:] for file in files], dtype=np.bytes_)
        found = cls(top, names, (channels, *(size or (0, 0))), size is not None)
        return found if size is not None else replace(found, shape=(channels, *found._first_size(skip)))

    def __len__(self) -> int:
        return len(self.names)

    @property
    def image_bytes(self) -> int:
        """Bytes of one decoded image."""
        channels, height, width = self.shape
        return channels * height * width

    def name(self, index: int) -> str:
        """The path of one image relative to `top`, as messages show it."""
        return Path(os.fsdecode(bytes(self.names[index]))).as_posix()

    def subset(self, indices: npt.NDArray[np.int64] | slice) -> ImageFiles:
        """Return the files at `indices`, in that order."""
        return replace(self, names=self.names[indices])

    def read(self, index: int) -> npt.NDArray[np.uint8]:
        """Decode one image to new memory, uint8 [c, h, w], always to the same pixels.

        Raises UnreadableImageError, or PemnError when the image has another size than the others.
        """
        channels, height, width = self.shape
        try:
            with self._open(index) as picture:
                self._check_size(index, picture)
                return np.array(to_pixels(picture, channels, (height, width)), order="C")
        except PemnError:
            raise
        except Exception as error:
            raise self._unreadable(index, error) from error

    def check(self, index: int) -> None:
        """Look at the header of one file alone, and raise as `read` does for what it tells."""
        try:
            with self._open(index) as picture:
                self._check_size(index, picture)
        except PemnError:
            raise
        except Exception as error:
            raise self._unreadable(index, error) from error

    def _open(self, index: int) -> Image.Image:
        return Image.open(self.top / os.fsdecode(bytes(self.names[index])))

    def _first_size(self, skip: bool) -> tuple[int, int]:
        for index in range(len(self)):
            try:
                with self._open(index) as picture:
                    return picture.height, picture.width
            except Exception as error:
                if not skip:
                    raise self._unreadable(index, error) from error
        raise PemnError(f"{self.top}: none of the {len(self)} images can be read")

    def _check_size(self, index: int, picture: Image.Image) -> None:
        _, height, width = self.shape
        if not self.resized and picture.size != (width, height):
            raise PemnError(
                f"{self.top}: image {self.name(index)} is {picture.height}x{picture.width} (height x width), those"
                f" before it {height}x{width}; give one size for all, such as --size {height}"
            )

    def _unreadable(self, index: int, error: Exception) -> UnreadableImageError:
        path = str(self.top / self.name(index))
        reason = " ".join(str(error).replace(path, "the file").split()) or type(error).__name__
        return UnreadableImageError(f"{self.top}: image {self.name(index)} cannot be read ({reason}); repair it")
