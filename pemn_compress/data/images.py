"""Images with labels, and the three parts that a data set is cut into."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pemn_compress.data.decode import decode, in_blocks
from pemn_compress.data.files import ImageFiles
from pemn_compress.data.spec import DataSpec
from pemn_formats.errors import PemnError

__all__ = ["ImageSet", "Splits"]


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Images and their labels, int64 [n].

    The images lie in memory as `pixels`, uint8 [n, channels, height, width], or stay in files; `images`, `image` and
    `blocks` give the same pixels for both. A file raises PemnError once it is asked for and cannot be read.
    """

    pixels: Tensor | ImageFiles
    labels: Tensor

    def __post_init__(self) -> None:
        if isinstance(self.pixels, Tensor) and (self.pixels.dtype != torch.uint8 or self.pixels.dim() != 4):
            found = f"{self.pixels.dtype} {tuple(self.pixels.shape)}"
            raise PemnError(f"images are {found}; expected torch.uint8 (n, channels, height, width)")
        if self.labels.dtype != torch.int64 or tuple(self.labels.shape) != (len(self.pixels),):
            found = f"{self.labels.dtype} {tuple(self.labels.shape)}"
            raise PemnError(f"labels are {found}; expected torch.int64 ({len(self.pixels)},)")

    def __len__(self) -> int:
        return len(self.pixels)

    @property
    def from_disk(self) -> bool:
        """Whether the images stay in files, and each use decodes them."""
        return isinstance(self.pixels, ImageFiles)

    @property
    def images(self) -> Tensor:
        """All images, uint8 [n, channels, height, width]: from files they are decoded for it, all at once."""
        if isinstance(self.pixels, Tensor):
            return self.pixels
        return torch.from_numpy(decode(self.pixels)[0])

    def image(self, index: int) -> Tensor:
        """One image, uint8 [channels, height, width]."""
        return self.pixels[index] if isinstance(self.pixels, Tensor) else torch.from_numpy(self.pixels.read(index))

    def blocks(self, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """The images in order, `size` at a time, with their labels; of files no more than three blocks are decoded."""
        if isinstance(self.pixels, Tensor):
            yield from zip(_split(self.pixels, size), _split(self.labels, size), strict=True)
        else:
            blocks = map(torch.from_numpy, in_blocks(self.pixels, size))
            yield from zip(blocks, _split(self.labels, size), strict=True)

    def subset(self, indices: Tensor | Sequence[int] | slice) -> ImageSet:
        """Return the images at `indices`, in that order, as a set of its own."""
        chosen = indices if isinstance(indices, slice) else torch.as_tensor(indices, dtype=torch.int64)
        if isinstance(self.pixels, Tensor):
            return ImageSet(self.pixels[chosen], self.labels[chosen])
        rows = chosen if isinstance(chosen, slice) else chosen.numpy()
        return ImageSet(self.pixels.subset(rows), self.labels[chosen])


def _split(values: Tensor, size: int) -> Iterator[Tensor]:
    return (values[start : start + size] for start in range(0, len(values), size))


@dataclass(frozen=True, eq=False)
class Splits:
    """A data set in three parts; `skipped` names the images that could not be read and were left out."""

    spec: DataSpec
    train: ImageSet
    validation: ImageSet
    test: ImageSet
    skipped: tuple[str, ...] = ()
