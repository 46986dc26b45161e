"""Data sets by name: the embedded digits, torchvision's, Tiny-ImageNet, and any folder of images."""

from __future__ import annotations

import difflib
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from pemn_compress.data.decode import check_room, checked, decoded, in_blocks, moved_to_front, offering_to_skip
from pemn_compress.data.digits import open_digits
from pemn_compress.data.downloads import DOWNLOADS, open_download
from pemn_compress.data.files import ImageFiles
from pemn_compress.data.folder import find_tiny_imagenet, open_folder
from pemn_compress.data.images import ImageSet, Splits
from pemn_compress.data.source import Labelled, Reading, Source
from pemn_compress.data.spec import DataSpec
from pemn_compress.data.split import Indices, holdout
from pemn_compress.data.statistics import mean_and_std
from pemn_formats.errors import PemnError

__all__ = ["IMAGENET", "data_names", "load_data", "load_test"]

IMAGENET = (("0.485", "0.456", "0.406"), ("0.229", "0.224", "0.225"))
_FOLDER = "folder:"
_MAX_SIDE = 4_096
_SAMPLE = 4_096  # images of a large set that mean and deviation are computed from
_AT_ONCE = 64


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
    from_disk: bool = False,
    download: bool = True,
) -> Splits:
    """Read a data set and hold `validation` of its training images out, by class, by `seed`.

    All of it is decoded into memory, or refused before that if it does not fit. With `from_disk` the images of a folder
    or of Tiny-ImageNet stay in their files instead, of which only the headers are read, with up to 4,096 images for a
    mean (with `skip_corrupt` each is decoded once, to know what to leave out), and every use of an image decodes it to
    the same pixels.

    `root` is where downloads and Tiny-ImageNet lie (default `data`). `size`, one side or (height, width) in pixels,
    and `channels`, 1 or 3, convert the images; without them they stay as they are (folders: RGB, all of one size).
    Mean and deviation are the published ones of CIFAR and ImageNet where colours are kept; else they are computed
    from all training images, held out or not, and from disk from 4,096 of them, evenly spread.
    Raises PemnError for everything that can be wrong with the data.

    >>> splits = load_data("digits")
    >>> len(splits.train), len(splits.validation), len(splits.test)
    (1293, 145, 359)
    """
    holdout([], validation, seed)
    reading = _reading(size, channels, skip_corrupt, from_disk)
    source = _open(name, root, download, from_disk)
    with offering_to_skip():
        training, testing = source.train(reading), source.test(reading)
    _check_same_shape(name, training, testing)
    if isinstance(training.images, ImageFiles) and not from_disk:
        held = holdout(training.labels, validation, seed)[1]
        check_room(training.images, len(training.labels) + len(testing.labels), twice=len(held))
    training, testing = (_read(source, part, reading) for part in (training, testing))
    shape = training.shape
    if source.constants is not None and len(source.constants[0]) == shape[0]:
        mean, std = source.constants
    else:
        mean, std = _mean_and_std(training.images)
    spec = DataSpec(name, len(source.class_names), shape[0], (shape[1], shape[2]), mean, std, source.class_names)
    kept, validating = _cut(training, *holdout(training.labels, validation, seed))
    return Splits(spec, kept, validating, _image_set(testing), training.skipped + testing.skipped)


def load_test(
    name: str,
    spec: DataSpec,
    *,
    root: str | Path | None = None,
    skip_corrupt: bool = False,
    from_disk: bool = False,
    download: bool = True,
) -> tuple[ImageSet, DataSpec]:
    """Read the test images alone, converted to the size and channels of `spec` (what a net was trained for).

    `from_disk` leaves them in their files, as in `load_data`.
    The returned spec carries this data set's name and classes, and the mean and deviation of `spec`.
    Raises PemnError as `load_data` does.
    """
    reading = _reading(spec.size, spec.channels, skip_corrupt, from_disk)
    source = _open(name, root, download, from_disk)
    testing = _read(source, source.test(reading), reading)
    classes = source.class_names
    found = DataSpec(name, len(classes), spec.channels, spec.size, spec.mean, spec.std, classes)
    return _image_set(testing), found


def _open(name: str, root: str | Path | None, download: bool, from_disk: bool) -> Source:
    where = Path("data" if root is None else root)
    if from_disk and name in ("digits", *DOWNLOADS):
        raise PemnError(f"{name} does not lie in image files; leave --from-disk (from_disk=True) out")
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


def _reading(size: int | tuple[int, int] | None, channels: int | None, skip_corrupt: bool, from_disk: bool) -> Reading:
    sides = size if size is None or isinstance(size, tuple) else (size, size)
    if sides is not None and not (len(sides) == 2 and all(type(s) is int and 1 <= s <= _MAX_SIDE for s in sides)):
        raise PemnError(f"image size is {size!r}; expected one side or (height, width), each from 1 to {_MAX_SIDE}")
    if channels not in (None, 1, 3):
        raise PemnError(f"channels is {channels!r}; expected 1 (grey) or 3 (RGB)")
    return Reading(sides, channels, skip_corrupt, from_disk)


def _read(source: Source, part: Labelled, reading: Reading) -> Labelled:
    """Files decoded, or looked at, without those to skip; each class keeps some."""
    if not isinstance(part.images, ImageFiles):
        return part
    with offering_to_skip():
        found = (checked if reading.from_disk else decoded)(part.images, part.labels, skip_corrupt=reading.skip_corrupt)
    counts = (np.bincount(labels, minlength=len(source.class_names)) for labels in (part.labels, found.labels))
    for label, before, left in zip(source.class_names, *counts, strict=True):
        if before and not left:
            where = f"data folder {part.images.top}"
            raise PemnError(f"{where}: none of the {before} images of class {label!r} can be read")
    return found


def _mean_and_std(images: npt.NDArray[np.uint8] | ImageFiles) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Those of all images, or of an even sample of files; a sum of parts, so that few images are in memory."""
    if not isinstance(images, ImageFiles):
        return mean_and_std(images)
    count = min(len(images), _SAMPLE)
    with offering_to_skip():
        return mean_and_std(in_blocks(images.subset(np.arange(count) * len(images) // count), _AT_ONCE))


def _cut(training: Labelled, kept: Indices, held: Indices) -> tuple[ImageSet, ImageSet]:
    """The images to train on and those held out, which alone are copied."""
    if isinstance(training.images, ImageFiles) or not len(held):
        every = _image_set(training)
        return every.subset(torch.from_numpy(kept)) if len(held) else every, every.subset(torch.from_numpy(held))
    validating = _image_set(Labelled(training.images[held], training.labels[held]))
    return _image_set(Labelled(moved_to_front(training.images, kept), training.labels[kept])), validating


def _check_same_shape(name: str, training: Labelled, testing: Labelled) -> None:
    train, test = training.shape[1:], testing.shape[1:]
    if train != test:
        raise PemnError(
            f"{name}: training images are {train[0]}x{train[1]}, test images {test[0]}x{test[1]} (height x width);"
            f" give one size for all, such as --size {train[0]}"
        )


def _image_set(labelled: Labelled) -> ImageSet:
    images = labelled.images
    pixels = images if isinstance(images, ImageFiles) else torch.from_numpy(images)
    return ImageSet(pixels, torch.from_numpy(labelled.labels))
