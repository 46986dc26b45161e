"""Change one image after another with torchvision's transforms, the same way for the same seed, in any process."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torchvision.transforms import v2

from pemn_compress.train.config import TrainConfig

__all__ = ["ImageAugment"]


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
