"""Images in folders: train/ and test/ (or val/), one folder per class, or Tiny-ImageNet's own layout of val/."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from pemn_compress.data.files import ImageFiles
from pemn_compress.data.source import Labelled, Reading, Source
from pemn_formats.errors import PemnError

__all__ = ["SUFFIXES", "find_tiny_imagenet", "open_folder"]

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")

_ANNOTATIONS = "val_annotations.txt"
_TINY = "tiny-imagenet-200"
_Files = dict[str, list[Path]]


def open_folder(top: Path) -> Source:
    """Return the data set in `top`: classes are the folders of train/, sorted by name, images at any depth in them.

    The test images are those of test/, else of val/; a val/val_annotations.txt (Tiny-ImageNet) wins over both.
    Raises PemnError when a folder is missing or empty, or the classes of the two parts differ.
    """
    if not top.is_dir():
        raise PemnError(f"data folder {top} {'is not a folder' if top.exists() else 'does not exist'}")
    if not (top / "train").is_dir():
        raise PemnError(f"data folder {top} has no train/ folder; expected train/CLASS/IMAGE and test/CLASS/IMAGE")
    training = _by_class(top, "train")
    testing = _testing(top, training)
    for part, files, others in (("train", training, testing), ("test", testing, training)):
        for label in files:
            if label not in others:
                raise PemnError(f"data folder {top}: class {label!r} is in the {part} images only; both need the same")
    return Source(
        class_names=tuple(training),
        train=lambda reading: _read(top, training, reading),
        test=lambda reading: _read(top, {label: testing[label] for label in training}, reading),
    )


def find_tiny_imagenet(root: Path) -> Path:
    """Return the unpacked Tiny-ImageNet under `root`; raise PemnError saying where it belongs."""
    for folder in (root / _TINY, root / "tiny-imagenet", root):
        if (folder / "train").is_dir():
            return folder
    raise PemnError(
        f"tiny-imagenet is not under {root}; fetch http://cs231n.stanford.edu/{_TINY}.zip"
        f" and unpack it to {root / _TINY}"
    )


def _testing(top: Path, training: _Files) -> _Files:
    if (top / "val" / _ANNOTATIONS).is_file():
        return _annotated(top, training)
    for part in ("test", "val"):
        if (top / part).is_dir():
            return _by_class(top, part)
    raise PemnError(f"data folder {top} has train/ but neither test/ nor val/; move some images of each class to test/")


def _by_class(top: Path, part: str) -> _Files:
    folders = sorted(p for p in (top / part).iterdir() if p.is_dir() and not p.name.startswith((".", "__")))
    if not folders:
        raise PemnError(f"data folder {top}: {part}/ has no class folders; expected {part}/CLASS/IMAGE")
    found = {folder.name: _images(folder) for folder in folders}
    if not any(found.values()):
        raise PemnError(f"data folder {top}: {part}/ has no images; looked for {' '.join(SUFFIXES)}")
    for label, files in found.items():
        if not files:
            raise PemnError(f"data folder {top}: class folder {part}/{label} has no images; fill it or remove it")
    return found


def _images(folder: Path) -> list[Path]:
    found = []
    for here, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [Path(here, f) for f in files if f.lower().endswith(SUFFIXES) and not f.startswith(".")]
    return sorted(found)


def _annotated(top: Path, training: _Files) -> _Files:
    """Read Tiny-ImageNet's val/val_annotations.txt: file name, class, four numbers of a box, between tabs."""
    found: _Files = {}
    text = (top / "val" / _ANNOTATIONS).read_text(encoding="utf-8", errors="replace")
    for number, line in enumerate(text.splitlines(), 1):
        fields = line.split("\t")
        if not line.strip():
            continue
        if len(fields) < 2 or Path(fields[0]).name != fields[0] or fields[1] not in training:
            raise PemnError(
                f"{top / 'val' / _ANNOTATIONS}: line {number} is not IMAGE<tab>CLASS with a class of train/"
            )
        found.setdefault(fields[1], []).append(top / "val" / "images" / fields[0])
    return found


def _read(top: Path, by_class: _Files, reading: Reading) -> Labelled:
    files = [file for members in by_class.values() for file in members]
    labels = np.repeat(np.arange(len(by_class), dtype=np.int64), [len(members) for members in by_class.values()])
    named = ImageFiles.of(files, top, size=reading.size, channels=reading.channels or 3, skip=reading.skip_corrupt)
    return Labelled(named, labels)
