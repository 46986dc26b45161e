"""All that a recipe asks for, on a whole batch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from pemn_compress.augment.crop import CROP_WORDS, crop_boxes, resized_crop
from pemn_compress.augment.erasing import ERASING_WORDS, erase, erased_boxes
from pemn_compress.augment.jitter import JITTER_WORDS, jitter, jitter_factors
from pemn_compress.augment.moving import MOVING_WORDS, shift_and_flip
from pemn_compress.augment.randaugment import randaugment
from pemn_compress.train.config import TrainConfig
from pemn_formats.errors import PemnError
from pemn_formats.philox import words

__all__ = ["BatchAugment"]

# Streams of the run's seed, one an epoch and step of the recipe: an option changes no other option's numbers.
_STREAM = 1 << 38
_STEP = 1 << 32
_MOVING_STREAM = 1 << 35


class BatchAugment:
    """The reference's augmentation (yueb17/PEMN): crop, shift, flip, RandAugment, jitter, erasing; many images at once.

    Parameters are drawn as torchvision's transforms draw them and the images change as under torchvision's functions on
    tensors, to one level of 255; `tests/compress/augment` states and checks both. An erased rectangle takes the mean
    colour, which is what zero is after the reference's normalisation.

    Args:
        config: what to do; see `TrainConfig`.
        size: height and width of the images.
        mean: the data set's mean of each channel, in [0, 1].

    Raises:
        PemnError: a shift as large as the image, or colours of something that is neither grey nor RGB.
    """

    def __init__(self, config: TrainConfig, size: tuple[int, int], mean: Sequence[float]) -> None:
        self._config, self._size = config, size
        self._mean = [round(255 * value) for value in mean]
        if config.shift >= min(size):
            raise PemnError(f"shift must be below the image size {min(size)}, found {config.shift}")
        if (config.randaugment_n or config.jitter) and len(mean) not in (1, 3):
            raise PemnError(f"randaugment and jitter need images of 1 or 3 channels, found {len(mean)}")
        moves = bool(config.shift or config.flip)
        self._columns = {
            "crop": CROP_WORDS * (config.crop_scale < 1),
            "moving": MOVING_WORDS * moves,
            "randaugment": config.randaugment_n,
            "jitter": JITTER_WORDS * (config.jitter > 0),
            "erasing": ERASING_WORDS * (config.erasing > 0),
        }

    def words(self, epoch: int, images: int) -> Tensor:
        """The random words of every image in an epoch: int32 (images, words an image), bit patterns, on the CPU."""
        seed = self._config.seed
        parts = [np.empty((images, 0), np.uint32)]
        for step, (name, columns) in enumerate(self._columns.items()):
            stream = _MOVING_STREAM if name == "moving" else _STREAM + step * _STEP
            parts.append(words(seed, stream + epoch, 0, images * columns).reshape(images, columns))
        return torch.from_numpy(np.concatenate(parts, 1).view(np.int32))

    def __call__(self, images: Tensor, drawn: Tensor) -> Tensor:
        """Change images by their rows of `words`.

        Args:
            images: uint8 (n, channels, height, width); may be changed in place.
            drawn: int32 (n, words an image) on the CPU.
        """
        config = self._config
        wide = drawn.to(torch.int64) & 0xFFFFFFFF
        crop, moving, augment, colours, erasing = torch.split(wide, list(self._columns.values()), 1)
        if crop.shape[1]:
            images = resized_crop(images, crop_boxes(crop, self._size, config.crop_scale))
        if moving.shape[1]:
            images = shift_and_flip(images, moving[:, 0], shift=config.shift, flip=config.flip)
        if augment.shape[1]:
            images = randaugment(images, augment, config.randaugment_m)
        if colours.shape[1]:
            images = jitter(images, *jitter_factors(colours, config.jitter))
        if erasing.shape[1]:
            images = erase(images, erased_boxes(erasing, self._size, config.erasing), self._mean)
        return images
