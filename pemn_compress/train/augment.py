"""Change training images at random, the same way for the same seed, whoever does it and in whatever order."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torchvision.transforms import v2

from pemn_compress.train.config import TrainConfig

__all__ = ["ImageAugment", "shift_and_flip"]


def shift_and_flip(images: Tensor, words: Tensor, *, shift: int, flip: bool) -> Tensor:
    """Move each image by up to `shift` pixels both ways, its edges reflected, and mirror every other one.

    Args:
        images: any dtype, shape (n, channels, height, width), height and width above `shift`.
        words: int64 of shape (n,), values in [0, 2^32): all the randomness there is.
        shift: pixels; 0 leaves the place alone.
        flip: whether to mirror left and right, by the word's top bit.

    Returns:
        A new tensor of the same shape and dtype.
    """
    if not shift and not flip:
        return images
    count, channels, height, width = images.shape
    choices = 2 * shift + 1
    down = (words & 0x7FFF) % choices - shift
    right = (words >> 15 & 0x7FFF) % choices - shift
    rows = _reflect(torch.arange(height, device=images.device) + down[:, None], height)
    columns = _reflect(torch.arange(width, device=images.device) + right[:, None], width)
    if flip:
        columns = torch.where((words >> 31 & 1).bool()[:, None], columns.flip(1), columns)
    place = (rows[:, :, None] * width + columns[:, None, :]).reshape(count, 1, height * width)
    flat = images.reshape(count, channels, height * width)
    return flat.gather(2, place.expand(count, channels, height * width)).reshape(images.shape)


def _reflect(index: Tensor, size: int) -> Tensor:
    last = size - 1
    return last - (last - index.abs()).abs()


class ImageAugment:
    """The reference's augmentation of one image: crop, flip, RandAugment, colour jitter, erasing (yueb17/PEMN).

    An erased rectangle takes the mean colour, which is what zero is after the reference's normalisation.

    Args:
        config: what to do; see `TrainConfig`.
        size: height and width of the result.
        mean: the data set's mean of each channel, in [0, 1].
    """

    def __init__(self, config: TrainConfig, size: tuple[int, int], mean: Sequence[float]) -> None:
        steps: list[torch.nn.Module] = []
        if config.crop_scale < 1:
            steps.append(v2.RandomResizedCrop(size, scale=(config.crop_scale, 1.0), ratio=(1.0, 1.0), antialias=True))
        if config.shift:
            steps.append(v2.RandomCrop(size, padding=config.shift, padding_mode="reflect"))
        if config.flip:
            steps.append(v2.RandomHorizontalFlip())
        if config.randaugment_n:
            steps.append(v2.RandAugment(num_ops=config.randaugment_n, magnitude=config.randaugment_m))
        if config.jitter:
            steps.append(v2.ColorJitter(config.jitter, config.jitter, config.jitter))
        if config.erasing:
            steps.append(v2.RandomErasing(config.erasing, value=[round(255 * value) for value in mean]))
        self._steps = v2.Compose(steps or [v2.Identity()])

    def __call__(self, image: Tensor, seed: int) -> Tensor:
        """The changed uint8 image (channels, height, width); torch's own random state is left as it was."""
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            changed: Tensor = self._steps(image)
        return changed
