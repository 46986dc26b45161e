"""The reference's input: PIL images changed one by one in worker processes."""

from __future__ import annotations

from collections.abc import Callable

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from pemn_compress.data import DataSpec, ImageSet
from pemn_compress.train.config import TrainConfig

__all__ = ["test_loader", "train_loader"]

_Loader = DataLoader[tuple[Tensor, int]]


class _Pictures(Dataset[tuple[Tensor, int]]):
    """Decoded images, made into PIL images when they are asked for, as torchvision's CIFAR data sets do."""

    def __init__(self, images: ImageSet, transform: Callable[[Image.Image], Tensor]) -> None:
        self._pixels = images.images.permute(0, 2, 3, 1).contiguous().numpy()
        self._labels = images.labels.tolist()
        self._transform = transform

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self._transform(Image.fromarray(self._pixels[index])), self._labels[index]


def _to_tensor(spec: DataSpec) -> list[Callable[..., object]]:
    mean, std = ([float(value) for value in values] for values in (spec.mean, spec.std))
    return [transforms.ToTensor(), transforms.Normalize(mean, std)]


def train_loader(images: ImageSet, spec: DataSpec, config: TrainConfig, workers: int) -> _Loader:
    """Shuffled batches of colour images, augmented as `config` says."""
    steps = [
        transforms.RandomResizedCrop(spec.size, scale=(config.crop_scale, 1.0), ratio=(1.0, 1.0)),
        transforms.RandomHorizontalFlip(p=0.5 if config.flip else 0.0),
        transforms.RandAugment(num_ops=config.randaugment_n, magnitude=config.randaugment_m),
        transforms.ColorJitter(config.jitter, config.jitter, config.jitter),
        *_to_tensor(spec),
        transforms.RandomErasing(p=config.erasing),
    ]
    return DataLoader(
        _Pictures(images, transforms.Compose(steps)),
        batch_size=config.batch_size,
        shuffle=True,
        num_workers=workers,
        pin_memory=torch.cuda.is_available(),
    )


def test_loader(images: ImageSet, spec: DataSpec, batch_size: int, workers: int) -> _Loader:
    """Batches in order, only normalised."""
    return DataLoader(
        _Pictures(images, transforms.Compose(_to_tensor(spec))), batch_size=batch_size, num_workers=workers
    )
