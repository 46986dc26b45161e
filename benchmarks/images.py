"""The images that benchmarks of training share."""

from __future__ import annotations

import dataclasses

from pemn_compress.data import Splits, load_data
from pemn_compress.train.subset import stratified_subset

__all__ = ["load_images"]


def load_images(name: str, limit_train: int) -> Splits:
    """A data set with a tenth of its training images held out, and `limit_train` of the others (0: all)."""
    splits = load_data(name, validation=0.1, seed=0)
    if not limit_train:
        return splits
    return dataclasses.replace(splits, train=stratified_subset(splits.train, limit_train, 0))
