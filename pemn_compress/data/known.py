"""What is known of a data set by its name alone, so that a net can be planned before any image is read."""

from __future__ import annotations

from pemn_compress.data.downloads import DOWNLOADS
from pemn_compress.data.load import IMAGENET
from pemn_compress.data.spec import DataSpec

__all__ = ["known_spec", "stand_in"]

_SHAPES = {
    "digits": (10, 1, 8),
    "mnist": (10, 1, 28),
    "fashion-mnist": (10, 1, 28),
    "cifar10": (10, 3, 32),
    "cifar100": (100, 3, 32),
    "tiny-imagenet": (200, 3, 64),
}
"""Classes, channels and side of the images."""

# Those of all training images, computed as `load_data` does.
_COMPUTED = {
    "digits": (("0.3043",), ("0.3759",)),
    "mnist": (("0.1307",), ("0.3081",)),
    "fashion-mnist": (("0.2860",), ("0.3530",)),
}


def known_spec(name: str, *, side: int | None = None) -> DataSpec | None:
    """Return what a named data set is, its images resized to `side` pixels; None where only its images tell."""
    if name not in _SHAPES:
        return None
    classes, channels, own = _SHAPES[name]
    constants = IMAGENET if name == "tiny-imagenet" else _COMPUTED.get(name) or DOWNLOADS[name].constants
    mean, std = constants or IMAGENET
    return DataSpec(name, classes, channels, (side or own, side or own), mean, std)


def stand_in(classes: int, channels: int, side: int) -> DataSpec:
    """Return a data set of one's own: its mean and deviation are other numbers of the same length."""
    mean, std = ([f"0.{base + 37 * channel % 1000:04d}" for channel in range(channels)] for base in (4567, 2345))
    return DataSpec("folder", classes, channels, (side, side), tuple(mean), tuple(std))
