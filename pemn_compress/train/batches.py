"""Training batches: shuffled, augmented, normalised on the device, and a function of (seed, epoch) alone."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from pemn_compress.augment import BatchAugment
from pemn_compress.data import DataSpec, ImageSet, normalise
from pemn_compress.train.augment import ImageAugment
from pemn_compress.train.config import TrainConfig
from pemn_compress.train.distributed import Ranks
from pemn_formats.errors import PemnError
from pemn_formats.philox import words

__all__ = ["TrainBatches"]

# Streams of the run's seed, one an epoch; the ranges below belong to prototypes, permutations and scores.
_ORDER_STREAM = 1 << 34
_AUGMENT_STREAM = 1 << 35

# Pixels augmented at a time, in bytes, several batches when they fit: enough to hide the cost of calling each
# operation, little enough for a core's cache.
_AT_ONCE = {"cpu": 3 << 19, "cuda": 1 << 25}


class TrainBatches:
    """The batches of every epoch.

    The order of the images and what happens to each come from the seed, the epoch and the image's index by Philox, so
    neither the number of workers nor a resumed run changes them. A last batch of one image is dropped: BatchNorm
    cannot train on it.

    Without `config.workers` the images lie on the device and are augmented there, many at a time (`BatchAugment`). With
    it they stay in the host's memory, and worker processes (0: this one) apply torchvision's transforms to one image
    after another, as the reference does; batches then wait in pinned memory for a GPU. Both ways draw from the same
    distributions, yet not the same numbers. Shifts and flips alone never need workers and are the same either way.

    Args:
        images: the training images.
        spec: their size and normalisation.
        config: batch size, augmentation, seed and workers.
        device: where the batches go.
        ranks: who trains; each process gets its part of every batch.

    Raises:
        PemnError: fewer than two images, an augmentation that does not fit them, or a device that cannot hold them.
    """

    def __init__(
        self, images: ImageSet, spec: DataSpec, config: TrainConfig, device: torch.device, ranks: Ranks | None = None
    ) -> None:
        self._pixels, self._labels, self._ranks = images.images, images.labels, ranks or Ranks()
        self._spec, self._config, self._device = spec, config, device
        self.images = len(images)
        if self.images < 2:
            raise PemnError(f"training needs at least 2 images, found {self.images}")
        self.sizes = [len(batch) for batch in self._cut(torch.arange(self.images))]
        self.steps = len(self.sizes)
        least = 2 * self._ranks.size
        if config.batch_size < least:
            raise PemnError(
                f"batch_size must be at least {least} for {self._ranks.size} processes, found {config.batch_size}"
            )
        self._loader: DataLoader[tuple[Tensor, Tensor]] | None = None
        self._sampler = _Sampler(self)
        mean = [float(value) for value in spec.mean]
        self._augment = BatchAugment(config, spec.size, mean)
        if config.workers is not None and config.augments_each_image:
            self._loader = self._make_loader(ImageAugment(config, spec.size, mean), config.workers)
        elif config.workers is None:
            self._pixels, self._labels = _held(self._pixels, device), _held(self._labels, device)

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
        """Which images make up this process's part of each batch of an epoch; `sizes` are those of whole batches."""
        key = words(self._config.seed, _ORDER_STREAM + epoch, 0, self.images).astype("int64")
        batches = self._cut(torch.from_numpy(key).argsort(stable=True))
        return [batch[self._ranks.part(len(batch))] for batch in batches]

    def image_words(self, epoch: int) -> Tensor:
        """The random words of every image in an epoch: int32 (images, words an image), as `BatchAugment` takes them."""
        return self._augment.words(epoch, self.images)

    def image_seeds(self, epoch: int) -> Tensor:
        """The seed of every image in an epoch for a worker, int64 (images,)."""
        return torch.from_numpy(words(self._config.seed, _AUGMENT_STREAM + epoch, 0, self.images).astype("int64"))

    def _whole_batches(self, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        random, batches = self.image_words(epoch), self.indices(epoch)
        one = self._pixels[0].numel() * len(batches[0])
        together = max(1, _AT_ONCE[self._device.type] // one)
        for first in range(0, len(batches), together):
            several = batches[first : first + together]
            index = torch.cat(several)
            here = index.to(self._pixels.device, non_blocking=True)
            pixels, labels = (each[here].to(self._device, non_blocking=True) for each in (self._pixels, self._labels))
            pixels = self._augment(pixels, random[index])
            sizes = [len(batch) for batch in several]
            for images, target in zip(torch.split(pixels, sizes), torch.split(labels, sizes), strict=True):
                yield normalise(images, self._spec), target

    def _cut(self, order: Tensor) -> list[Tensor]:
        parts = list(torch.split(order, self._config.batch_size))
        return parts[:-1] if len(parts[-1]) == 1 else parts

    def _make_loader(self, augment: ImageAugment, workers: int) -> DataLoader[tuple[Tensor, Tensor]]:
        return DataLoader(
            _Augmented(self._pixels, self._labels, augment),
            batch_sampler=self._sampler,
            num_workers=workers,
            persistent_workers=workers > 0,
            pin_memory=self._device.type == "cuda",
            generator=torch.Generator(),
        )


def _held(values: Tensor, device: torch.device) -> Tensor:
    try:
        return values.to(device)
    except torch.OutOfMemoryError:
        size = values.numel() * values.element_size() / 2**30
        raise PemnError(
            f"{len(values)} training images take {size:.1f} GiB, which {device} does not have free; "
            "keep them in the host's memory with --workers 4"
        ) from None


class _Sampler(Sampler[list[tuple[int, int]]]):
    """Batches of (index, seed); the seed travels to the worker, so a worker needs to know no epoch."""

    def __init__(self, batches: TrainBatches) -> None:
        self._batches = batches
        self.epoch = 0

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        random = self._batches.image_seeds(self.epoch)
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
