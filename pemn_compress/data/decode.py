"""Many image files to one array, decoded by a few threads."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from pemn_compress.data.pixels import to_pixels
from pemn_compress.data.source import Labelled, Reading
from pemn_formats.errors import PemnError

__all__ = ["decode"]

_CHUNK = 256
_MAX_THREADS = 16


def decode(files: Sequence[Path], labels: npt.NDArray[np.int64], top: Path, reading: Reading) -> Labelled:
    """Read `files` (named relative to `top` in messages) as uint8 [n, c, h, w]; three channels unless asked otherwise.

    Raises PemnError naming the first image, in order, that cannot be read (unless `skip_corrupt`) or, where no size
    is given, that has another size than the first.
    """
    channels = reading.channels or 3
    size = reading.size or _first_size(files, top, reading.skip_corrupt)
    try:
        images = np.empty((len(files), channels, *size), dtype=np.uint8)
    except MemoryError as error:
        amount = f"{len(files):,} images of {size[0]}x{size[1]}"
        raise PemnError(f"{top}: {amount} do not fit in memory; give a smaller --size") from error

    def work(start: int) -> list[int]:
        bad = []
        for index in range(start, min(start + _CHUNK, len(files))):
            try:
                with Image.open(files[index]) as picture:
                    if reading.size is None and picture.size != (size[1], size[0]):
                        raise _differs(files, index, picture.size, size, top)
                    images[index] = to_pixels(picture, channels, reading.size)
            except PemnError:
                raise
            except Exception as error:
                if not reading.skip_corrupt:
                    raise _unreadable(files[index], top, error) from error
                bad.append(index)
        return bad

    with ThreadPoolExecutor(min(_MAX_THREADS, os.cpu_count() or 1)) as pool:
        try:
            chunks = [pool.submit(work, start) for start in range(0, len(files), _CHUNK)]
            bad = [index for chunk in chunks for index in chunk.result()]
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    if not bad:
        return Labelled(images, labels)
    kept = np.ones(len(files), dtype=bool)
    kept[bad] = False
    return Labelled(images[kept], labels[kept], tuple(_shown(files[index], top) for index in bad))


def _first_size(files: Sequence[Path], top: Path, skip_corrupt: bool) -> tuple[int, int]:
    for file in files:
        try:
            with Image.open(file) as picture:
                return picture.height, picture.width
        except Exception as error:
            if not skip_corrupt:
                raise _unreadable(file, top, error) from error
    raise PemnError(f"{top}: none of the {len(files)} images can be read")


def _shown(file: Path, top: Path) -> str:
    return file.relative_to(top).as_posix()


def _unreadable(file: Path, top: Path, error: Exception) -> PemnError:
    reason = " ".join(str(error).replace(str(file), "the file").split()) or type(error).__name__
    return PemnError(f"{top}: image {_shown(file, top)} cannot be read ({reason}); repair it, or pass --skip-corrupt")


def _differs(files: Sequence[Path], index: int, found: tuple[int, int], first: tuple[int, int], top: Path) -> PemnError:
    return PemnError(
        f"{top}: image {_shown(files[index], top)} is {found[1]}x{found[0]} (height x width), those before it"
        f" {first[0]}x{first[1]}; give one size for all, such as --size {first[0]}"
    )
