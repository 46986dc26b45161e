"""Fewer training images, chosen fairly."""

from __future__ import annotations

import torch

from pemn_compress.data import ImageSet
from pemn_formats.errors import PemnError
from pemn_formats.philox import words

__all__ = ["stratified_subset"]

_STREAM = 1 << 36


def stratified_subset(images: ImageSet, count: int, seed: int) -> ImageSet:
    """`count` of the images, each class in proportion to its share, the same ones for the same seed.

    Within a class the seed orders the images; across classes the ones with the smallest rank relative to the size of
    their class are taken, so every class loses the same fraction to within one image.

    Raises:
        PemnError: fewer images are there than asked for.
    """
    labels = images.labels
    if count > len(labels):
        raise PemnError(f"limit_train is {count}, but there are {len(labels)} training images")
    key = torch.from_numpy(words(seed, _STREAM, 0, len(labels)).astype("int64"))
    share = torch.empty(len(labels), dtype=torch.float64)
    for label in range(int(labels.max()) + 1):
        members = torch.nonzero(labels == label).flatten()
        ranks = key[members].argsort(stable=True).argsort()
        share[members] = (ranks.double() + 0.5) / max(1, len(members))
    return images.subset(share.argsort(stable=True)[:count].sort().values)
