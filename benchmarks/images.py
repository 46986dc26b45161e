"""The images that benchmarks of training share."""

from __future__ import annotations

import argparse
import dataclasses

from pemn_compress.data import Splits, load_data
from pemn_compress.train.subset import stratified_subset

__all__ = ["image_options", "load_images"]


def image_options(parser: argparse.ArgumentParser, *, limit_train: int, epochs: int) -> None:
    """Add what benchmarks of runs with a byte budget ask: which images, how many, how often, and on what."""
    parser.add_argument("--data", required=True, help="a data set's name, or folder:PATH")
    parser.add_argument("--describe", default=None, help="what the images are, for the results (never their path)")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--limit-train", type=int, default=limit_train, help="training images (0: all)")
    parser.add_argument("--epochs", type=int, default=epochs)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")


def load_images(name: str, limit_train: int) -> Splits:
    """A data set with a tenth of its training images held out, and `limit_train` of the others (0: all)."""
    splits = load_data(name, validation=0.1, seed=0)
    if not limit_train:
        return splits
    return dataclasses.replace(splits, train=stratified_subset(splits.train, limit_train, 0))
