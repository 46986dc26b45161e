"""Mix the images of a batch, and their labels with them."""

from __future__ import annotations

import torch
from torch import Tensor
from torchvision.transforms import v2

from pemn_compress.train.config import TrainConfig
from pemn_formats.philox import words

__all__ = ["Mixing"]

_STREAM = 1 << 44  # of the run's seed, two words a step: one seeds the transform, one chooses it


class Mixing:
    """Mixup (Zhang et al. 2018) and CutMix (Yun et al. 2019), as torchvision does them on a batch.

    Each image is mixed with the one before it in its batch; batches are shuffled, so partners are random. The share and
    the box are those of the whole batch, drawn from the run's seed and the step alone: processes that each hold a part
    of a batch draw the same, and mix within their part. With both on, every step does one of the two by a fair coin.

    Args:
        config: the recipe; its `mixup` and `cutmix` are the alphas of the share's Beta distribution, 0 is off.
        classes: how many there are.
    """

    def __init__(self, config: TrainConfig, classes: int) -> None:
        self._seed = config.seed
        self._kinds: list[torch.nn.Module] = []
        if config.mixup:
            self._kinds.append(v2.MixUp(alpha=config.mixup, num_classes=classes))
        if config.cutmix:
            self._kinds.append(v2.CutMix(alpha=config.cutmix, num_classes=classes))

    def __call__(self, images: Tensor, labels: Tensor, step: int) -> tuple[Tensor, Tensor]:
        """Mixed images and the probability of each class, (n, classes); or both as they came when nothing is mixed.

        torch's own random state is left as it was.
        """
        if not self._kinds:
            return images, labels
        seed, coin = (int(word) for word in words(self._seed, _STREAM, 2 * step, 2))
        kind = self._kinds[coin % len(self._kinds)]
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            mixed: tuple[Tensor, Tensor] = kind(images, labels)
        return mixed
