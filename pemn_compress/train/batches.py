"""Training batches: shuffled, augmented, normalised on the device, and a function of (seed, epoch) alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor
from torch.utils.data import Sampler

from pemn_compress.augment import BatchAugment
from pemn_compress.data import DataSpec, ImageSet, normalise
from pemn_compress.train.augment import ImageAugment
from pemn_compress.train.config import TrainConfig
from pemn_compress.train.distributed import Ranks
from pemn_compress.train.on_device import on_device
from pemn_compress.train.workers import Batch, batch_loader, default_workers
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

    Images that stay in files are always read by worker processes, which decode them and apply torchvision's transforms
    to each; without `config.workers` there are as many as processors, up to 8. Each prepares two batches ahead. The
    batches are those of workers and the same images in memory. Shifts and flips alone happen here, many at a time.

    Args:
        images: the training images.
        spec: their size and normalisation.
        config: batch size, augmentation, seed and workers.
        device: where the batches go.
        ranks: who trains; each process gets its part of every batch.

    Raises:
        PemnError: fewer than two images, an augmentation that does not fit them, or a device that cannot hold them;
            in an epoch, a file that cannot be read.
    """

    def __init__(
        self, images: ImageSet, spec: DataSpec, config: TrainConfig, device: torch.device, ranks: Ranks | None = None
    ) -> None:
        self._ranks = ranks or Ranks()
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
        self._sampler = _Sampler()
        mean = [float(value) for value in spec.mean]
        self._augment = BatchAugment(config, spec.size, mean)
        self._loader: Iterable[Batch] | None = None
        one_by_one = config.augments_each_image and (images.from_disk or config.workers is not None)
        self._finished = one_by_one  # whether what the loader gives is augmented already
        if one_by_one or images.from_disk:
            self._loader = batch_loader(
                images,
                ImageAugment(config, spec.size, mean) if one_by_one else None,
                self._sampler,
                workers=default_workers() if config.workers is None else config.workers,
                pin=device.type == "cuda",
            )
            return
        near = images if config.workers is not None else on_device(images, device)
        self._pixels, self._labels = near.images, near.labels

    def epoch(self, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        """The batches of one epoch: float32 (n, channels, height, width), normalised, and int64 labels (n,)."""
        loaded = self._augmented_here(epoch) if self._loader is None else self._from_workers(self._loader, epoch)
        for pixels, labels in loaded:
            yield normalise(pixels, self._spec), labels

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

    def _augmented_here(self, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
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
            yield from zip(torch.split(pixels, sizes), torch.split(labels, sizes), strict=True)

    def _from_workers(self, loader: Iterable[Batch], epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        self._sampler.batches, self._sampler.seeds = self.indices(epoch), self.image_seeds(epoch)
        random = None if self._finished else self.image_words(epoch)
        for batch, index in zip(loader, self._sampler.batches, strict=True):
            if isinstance(batch, PemnError):
                try:
                    raise batch
                finally:
                    del batch  # which refers to this frame by now: a cycle, too
            pixels, labels = (each.to(self._device, non_blocking=True) for each in batch)
            yield pixels if random is None else self._augment(pixels, random[index]), labels

    def _cut(self, order: Tensor) -> list[Tensor]:
        parts = list(torch.split(order, self._config.batch_size))
        return parts[:-1] if len(parts[-1]) == 1 else parts


class _Sampler(Sampler[list[tuple[int, int]]]):
    """Batches of (index, seed), set for each epoch; the seed travels to the worker, which needs to know no epoch.

    It must not refer to the `TrainBatches`: workers of an object that is part of a cycle end only after seconds.
    """

    def __init__(self) -> None:
        self.batches: list[Tensor] = []
        self.seeds = torch.empty(0, dtype=torch.int64)

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        for index in self.batches:
            yield list(zip(index.tolist(), self.seeds[index].tolist(), strict=True))

    def __len__(self) -> int:
        return len(self.batches)
