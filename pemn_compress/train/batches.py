"""Training batches: shuffled, augmented, normalised on the device, and a function of (seed, epoch) alone."""

from __future__ import annotations

import os
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from pemn_compress.data import DataSpec, ImageSet, normalise
from pemn_compress.train.augment import ImageAugment, shift_and_flip
from pemn_compress.train.config import TrainConfig
from pemn_formats.errors import PemnError
from pemn_formats.philox import words

__all__ = ["TrainBatches"]

# Streams of the run's seed, one an epoch; the ranges below belong to prototypes, permutations and scores.
_ORDER_STREAM = 1 << 34
_AUGMENT_STREAM = 1 << 35


class TrainBatches:
    """The batches of every epoch.

    The order of the images and what happens to each come from the seed, the epoch and the image's index by Philox, so
    neither the number of workers nor a resumed run changes them. A last batch of one image is dropped: BatchNorm
    cannot train on it.

    Args:
        images: the training images.
        spec: their size and normalisation.
        config: batch size, augmentation, seed and workers.
        device: where the batches go.
    """

    def __init__(self, images: ImageSet, spec: DataSpec, config: TrainConfig, device: torch.device) -> None:
        self._pixels, self._labels = images.images, images.labels
        self._spec, self._config, self._device = spec, config, device
        self.images = len(images)
        if self.images < 2:
            raise PemnError(f"training needs at least 2 images, found {self.images}")
        self.steps = len(self._cut(torch.arange(self.images)))
        self._loader: DataLoader[tuple[Tensor, Tensor]] | None = None
        self._sampler = _Sampler(self)
        if config.augments_each_image:
            self._loader = self._make_loader(ImageAugment(config, spec.size, [float(value) for value in spec.mean]))
        else:
            if config.shift >= min(spec.size):
                raise PemnError(f"shift must be below the image size {min(spec.size)}, found {config.shift}")
            self._pixels, self._labels = self._pixels.to(device), self._labels.to(device)

    def epoch(self, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        """The batches of one epoch: float32 (n, channels, height, width), normalised, and int64 labels (n,)."""
        if self._loader is None:
            yield from self._whole_batches(epoch)
            return
        self._sampler.epoch = epoch
        for pixels, labels in self._loader:
            moved = pixels.to(self._device, non_blocking=True)
            yield normalise(moved, self._spec), labels.to(self._device, non_blocking=True)

    def indices(self, epoch: int) -> list[Tensor]:
        """Which images make up each batch of an epoch."""
        key = words(self._config.seed, _ORDER_STREAM + epoch, 0, self.images).astype("int64")
        return self._cut(torch.from_numpy(key).argsort(stable=True))

    def image_words(self, epoch: int) -> Tensor:
        """The random word of every image in an epoch, int64 of shape (images,)."""
        return torch.from_numpy(words(self._config.seed, _AUGMENT_STREAM + epoch, 0, self.images).astype("int64"))

    def _whole_batches(self, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        random = self.image_words(epoch).to(self._device)
        for index in self.indices(epoch):
            here = index.to(self._device)
            pixels = self._pixels[here]
            pixels = shift_and_flip(pixels, random[here], shift=self._config.shift, flip=self._config.flip)
            yield normalise(pixels, self._spec), self._labels[here]

    def _cut(self, order: Tensor) -> list[Tensor]:
        parts = list(torch.split(order, self._config.batch_size))
        return parts[:-1] if len(parts[-1]) == 1 else parts

    def _make_loader(self, augment: ImageAugment) -> DataLoader[tuple[Tensor, Tensor]]:
        on_gpu = self._device.type == "cuda"
        workers = self._config.workers
        if workers is None:
            workers = min(8, os.cpu_count() or 1) if on_gpu else 0
        return DataLoader(
            _Augmented(self._pixels, self._labels, augment),
            batch_sampler=self._sampler,
            num_workers=workers,
            persistent_workers=workers > 0,
            pin_memory=on_gpu,
            generator=torch.Generator(),
        )


class _Sampler(Sampler[list[tuple[int, int]]]):
    """Batches of (index, random word); the word travels to the worker, so a worker needs to know no epoch."""

    def __init__(self, batches: TrainBatches) -> None:
        self._batches = batches
        self.epoch = 0

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        random = self._batches.image_words(self.epoch)
        for index in self._batches.indices(self.epoch):
            yield list(zip(index.tolist(), random[index].tolist(), strict=True))

    def __len__(self) -> int:
        return self._batches.steps


class _Augmented(Dataset[tuple[Tensor, Tensor]]):
    def __init__(self, pixels: Tensor, labels: Tensor, augment: ImageAugment) -> None:
        self._pixels, self._labels, self._augment = pixels, labels, augment

    def __getitem__(self, key: tuple[int, int]) -> tuple[Tensor, Tensor]:
        index, word = key
        return self._augment(self._pixels[index], word), self._labels[index]
