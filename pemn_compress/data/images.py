"""Images with labels, and the three parts that a data set is cut into."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pemn_compress.data.spec import DataSpec
from pemn_formats.errors import PemnError

__all__ = ["ImageSet", "Splits"]


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Images, uint8 [n, channels, height, width], and their labels, int64 [n], both on the CPU."""

    images: Tensor
    labels: Tensor

    def __post_init__(self) -> None:
        if self.images.dtype != torch.uint8 or self.images.dim() != 4:
            found = f"{self.images.dtype} {tuple(self.images.shape)}"
            raise PemnError(f"images are {found}; expected torch.uint8 (n, channels, height, width)")
        if self.labels.dtype != torch.int64 or self.labels.shape != self.images.shape[:1]:
            found = f"{self.labels.dtype} {tuple(self.labels.shape)}"
            raise PemnError(f"labels are {found}; expected torch.int64 ({len(self.images)},)")

    def __len__(self) -> int:
        return int(self.images.shape[0])

    def subset(self, indices: Tensor | Sequence[int]) -> ImageSet:
        """Return the images at `indices`, in that order, as a set of its own."""
        chosen = torch.as_tensor(indices, dtype=torch.int64)
        return ImageSet(self.images[chosen], self.labels[chosen])


@dataclass(frozen=True, eq=False)
class Splits:
    """A data set in three parts; `skipped` names the images that could not be read and were left out."""

    spec: DataSpec
    train: ImageSet
    validation: ImageSet
    test: ImageSet
    skipped: tuple[str, ...] = ()
