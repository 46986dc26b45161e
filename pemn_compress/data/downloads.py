"""Data sets that torchvision fetches on demand: MNIST, Fashion-MNIST, CIFAR-10 and CIFAR-100."""

from __future__ import annotations

import contextlib
import socket
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pemn_compress.data.pixels import adapt
from pemn_compress.data.source import Labelled, Reading, Source
from pemn_formats.errors import PemnError

__all__ = ["DOWNLOADS", "open_download"]

_TIMEOUT_SECONDS = 30.0


class _Entry(NamedTuple):
    torchvision_name: str
    constants: tuple[tuple[str, ...], tuple[str, ...]] | None


DOWNLOADS: dict[str, _Entry] = {
    "mnist": _Entry("MNIST", None),
    "fashion-mnist": _Entry("FashionMNIST", None),
    "cifar10": _Entry("CIFAR10", (("0.4914", "0.4822", "0.4465"), ("0.2471", "0.2435", "0.2616"))),
    "cifar100": _Entry("CIFAR100", (("0.5071", "0.4867", "0.4408"), ("0.2675", "0.2565", "0.2761"))),
}


def open_download(name: str, root: Path, download: bool) -> Source:
    """Return a torchvision data set kept under `root`, fetched there when it is missing and `download` allows.

    Raises PemnError when it is neither there nor can be fetched.
    """
    entry = DOWNLOADS[name]
    training = _fetch(name, entry, root, download, train=True)

    def read(reading: Reading, data: Any) -> Labelled:
        images = np.asarray(data.data, dtype=np.uint8)
        planes = images[:, None] if images.ndim == 3 else np.ascontiguousarray(images.transpose(0, 3, 1, 2))
        return Labelled(adapt(planes, reading), np.asarray(data.targets, dtype=np.int64))

    return Source(
        class_names=tuple(str(label) for label in training.classes),
        train=lambda reading: read(reading, training),
        test=lambda reading: read(reading, _fetch(name, entry, root, download, train=False)),
        constants=entry.constants,
    )


def _fetch(name: str, entry: _Entry, root: Path, download: bool, *, train: bool) -> Any:
    from torchvision import datasets

    new = not root.exists()
    try:
        with _quietly():
            return getattr(datasets, entry.torchvision_name)(root=str(root), train=train, download=download)
    except Exception as error:
        if new:
            _drop_empty(root)
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        how = f"the download failed ({reason})" if download else "downloads are off"
        remedy = "connect to the network once" if download else "allow the download"
        raise PemnError(
            f"{name} is not complete under {root} and {how}; {remedy}, copy torchvision's {entry.torchvision_name}"
            " files there, or use --data digits or --data folder:PATH"
        ) from error


def _drop_empty(folder: Path) -> None:
    """Remove the folders that a failed download made and put nothing into."""
    for path in sorted((folder, *folder.rglob("*")), reverse=True):
        with contextlib.suppress(OSError):
            path.rmdir()


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Keep torchvision off stdout, its pickles' NumPy warnings off the screen, and a dead network from hanging."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_TIMEOUT_SECONDS)
    try:
        with contextlib.redirect_stdout(sys.stderr), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        socket.setdefaulttimeout(before)
