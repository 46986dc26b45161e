"""Data sets by name: the embedded digits, torchvision's, Tiny-ImageNet, and any folder of images."""

from __future__ import annotations

import difflib
from pathlib import Path

import torch

from pemn_compress.data.digits import open_digits
from pemn_compress.data.downloads import DOWNLOADS, open_download
from pemn_compress.data.folder import find_tiny_imagenet, open_folder
from pemn_compress.data.images import ImageSet, Splits
from pemn_compress.data.source import Labelled, Reading, Source
from pemn_compress.data.spec import DataSpec
from pemn_compress.data.split import holdout
from pemn_compress.data.statistics import mean_and_std
from pemn_formats.errors import PemnError

__all__ = ["IMAGENET", "data_names", "load_data", "load_test"]

IMAGENET = (("0.485", "0.456", "0.406"), ("0.229", "0.224", "0.225"))
_FOLDER = "folder:"
_MAX_SIDE = 4_096


def data_names() -> tuple[str, ...]:
    """Return the names that `load_data` takes."""
    return ("digits", *DOWNLOADS, "tiny-imagenet", "folder:PATH")


def load_data(
    name: str,
    *,
    root: str | Path | None = None,
    validation: float = 0.1,
    seed: int = 0,
    size: int | tuple[int, int] | None = None,
    channels: int | None = None,
    skip_corrupt: bool = False,
    download: bool = True,
) -> Splits:
    """Read a data set whole into memory and hold `validation` of its training images out, by class, by `seed`.

    `root` is where downloads and Tiny-ImageNet lie (default `data`). `size`, one side or (height, width) in pixels,
    and `channels`, 1 or 3, convert the images; without them they stay as they are (folders: RGB, all of one size).
    Mean and deviation are the published ones of CIFAR and ImageNet where colours are kept; else they are computed
    from all training images, held out or not. Raises PemnError for everything that can be wrong with the data.

    >>> splits = load_data("digits")
    >>> len(splits.train), len(splits.validation), len(splits.test)
    (1293, 145, 359)
    """
    holdout([], validation, seed)
    reading = _reading(size, channels, skip_corrupt)
    source = _open(name, root, download)
    training = source.train(reading)
    shape = training.images.shape[1:]
    if source.constants is not None and len(source.constants[0]) == shape[0]:
        mean, std = source.constants
    else:
        mean, std = mean_and_std(training.images)
    spec = DataSpec(name, len(source.class_names), shape[0], (shape[1], shape[2]), mean, std, source.class_names)
    testing = source.test(reading)
    _check_same_shape(name, training, testing)
    every = _image_set(training)
    kept, held = (torch.from_numpy(part) for part in holdout(training.labels, validation, seed))
    train = every if len(held) == 0 else every.subset(kept)
    return Splits(spec, train, every.subset(held), _image_set(testing), training.skipped + testing.skipped)


def load_test(
    name: str,
    spec: DataSpec,
    *,
    root: str | Path | None = None,
    skip_corrupt: bool = False,
    download: bool = True,
) -> tuple[ImageSet, DataSpec]:
    """Read the test images alone, converted to the size and channels of `spec` (what a net was trained for).

    The returned spec carries this data set's name and classes, and the mean and deviation of `spec`.
    Raises PemnError as `load_data` does.
    """
    source = _open(name, root, download)
    testing = source.test(_reading(spec.size, spec.channels, skip_corrupt))
    classes = source.class_names
    found = DataSpec(name, len(classes), spec.channels, spec.size, spec.mean, spec.std, classes)
    return _image_set(testing), found


def _open(name: str, root: str | Path | None, download: bool) -> Source:
    where = Path("data" if root is None else root)
    if name == "digits":
        return open_digits()
    if name in DOWNLOADS:
        return open_download(name, where, download)
    if name == "tiny-imagenet":
        tiny = open_folder(find_tiny_imagenet(where))
        return Source(tiny.class_names, tiny.train, tiny.test, IMAGENET)
    if name.startswith(_FOLDER) and name != _FOLDER:
        return open_folder(Path(name[len(_FOLDER) :]).expanduser())
    match = difflib.get_close_matches(name, data_names(), n=1)
    hint = f" (did you mean {match[0]!r}?)" if match else ""
    raise PemnError(f"unknown data {name!r}{hint}; known: {', '.join(data_names())}")


def _reading(size: int | tuple[int, int] | None, channels: int | None, skip_corrupt: bool) -> Reading:
    sides = size if size is None or isinstance(size, tuple) else (size, size)
    if sides is not None and not (len(sides) == 2 and all(type(s) is int and 1 <= s <= _MAX_SIDE for s in sides)):
        raise PemnError(f"image size is {size!r}; expected one side or (height, width), each from 1 to {_MAX_SIDE}")
    if channels not in (None, 1, 3):
        raise PemnError(f"channels is {channels!r}; expected 1 (grey) or 3 (RGB)")
    return Reading(sides, channels, skip_corrupt)


def _check_same_shape(name: str, training: Labelled, testing: Labelled) -> None:
    train, test = training.images.shape[2:], testing.images.shape[2:]
    if train != test:
        raise PemnError(
            f"{name}: training images are {train[0]}x{train[1]}, test images {test[0]}x{test[1]} (height x width);"
            f" give one size for all, such as --size {train[0]}"
        )


def _image_set(labelled: Labelled) -> ImageSet:
    return ImageSet(torch.from_numpy(labelled.images), torch.from_numpy(labelled.labels))
