"""Many image files decoded or looked at by a few threads."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import numpy.typing as npt

from pemn_compress.data.files import ImageFiles, UnreadableImageError
from pemn_compress.data.source import Labelled
from pemn_formats.available import available_memory
from pemn_formats.errors import PemnError

__all__ = ["check_room", "checked", "decode", "decoded", "in_blocks", "moved_to_front", "offering_to_skip"]

_CHUNK = 256
_MAX_THREADS = 16

Pixels = npt.NDArray[np.uint8]


def decode(files: ImageFiles, *, skip_corrupt: bool = False) -> tuple[Pixels, list[int]]:
    """Return all images, uint8 [n, c, h, w], and the indices of those that cannot be read, whose pixels mean nothing.

    Raises PemnError where memory does not suffice, or naming the first image, in order, that cannot be read (unless
    `skip_corrupt`) or has another size than the first.
    """
    check_room(files, len(files))
    try:
        images = _empty(files, len(files))
    except MemoryError as error:
        raise _too_large(files, len(files), len(files), None) from error

    def put(index: int) -> None:
        images[index] = files.read(index)

    return images, _unreadable(files, put, skip_corrupt)


def decoded(files: ImageFiles, labels: npt.NDArray[np.int64], *, skip_corrupt: bool = False) -> Labelled:
    """Read labelled files into memory; raises as `decode` does."""
    images, bad = decode(files, skip_corrupt=skip_corrupt)
    kept = _others(len(files), bad)
    return Labelled(moved_to_front(images, kept) if bad else images, labels[kept], _names(files, bad))


def checked(files: ImageFiles, labels: npt.NDArray[np.int64], *, skip_corrupt: bool = False) -> Labelled:
    """Leave labelled files as they are once their headers are found in order; to know what to skip, decode each once.

    Raises as `decode` does, for what headers tell.
    """
    bad = _unreadable(files, files.read if skip_corrupt else files.check, skip_corrupt)
    kept = _others(len(files), bad)
    return Labelled(files.subset(kept), labels[kept], _names(files, bad))


def in_blocks(files: ImageFiles, size: int) -> Iterator[Pixels]:
    """Decode files in order to blocks of `size` images; the next block is decoded while one is in use."""
    with ThreadPoolExecutor(_threads()) as pool:

        def begin(start: int) -> tuple[Pixels, list[Future[None]]]:
            block = _empty(files, max(0, min(size, len(files) - start)))

            def put(index: int) -> None:
                block[index] = files.read(start + index)

            return block, [pool.submit(put, index) for index in range(len(block))]

        following = begin(0)
        try:
            for start in range(0, len(files), size):
                block, work = following
                for each in work:
                    each.result()
                following = begin(start + size)
                yield block
        finally:
            pool.shutdown(cancel_futures=True)


def check_room(files: ImageFiles, images: int, twice: int = 0) -> None:
    """Raise PemnError where so many images, decoded, some of them held `twice`, need more memory than is free.

    To be asked before any is decoded: systems promise memory that they do not have.
    """
    free = available_memory()
    if free is not None and (images + twice) * files.image_bytes > free:
        raise _too_large(files, images, images + twice, free)


def moved_to_front(images: Pixels, kept: npt.NDArray[np.int64]) -> Pixels:
    """The images at `kept` (ascending) alone, moved within the memory of all, so that none of it is needed twice."""
    for start in range(0, len(kept), _CHUNK):
        chosen = kept[start : start + _CHUNK]
        images[start : start + len(chosen)] = images[chosen]
    return images[: len(kept)]


@contextlib.contextmanager
def offering_to_skip() -> Iterator[None]:
    """Say of an image that cannot be read what else can be done before a run has begun."""
    try:
        yield
    except UnreadableImageError as error:
        raise UnreadableImageError(f"{error}, or pass --skip-corrupt") from error


def _unreadable(files: ImageFiles, look: Callable[[int], object], skip_corrupt: bool) -> list[int]:
    """The indices of the images of which `look` finds that they cannot be read; the first one raises unless skipped."""

    def work(start: int) -> list[int]:
        bad = []
        for index in range(start, min(start + _CHUNK, len(files))):
            try:
                look(index)
            except UnreadableImageError:
                if not skip_corrupt:
                    raise
                bad.append(index)
        return bad

    with ThreadPoolExecutor(_threads()) as pool:
        try:
            chunks = [pool.submit(work, start) for start in range(0, len(files), _CHUNK)]
            return [index for chunk in chunks for index in chunk.result()]
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _empty(files: ImageFiles, count: int) -> Pixels:
    return np.empty((count, *files.shape), dtype=np.uint8)


def _others(count: int, bad: list[int]) -> npt.NDArray[np.int64]:
    return np.delete(np.arange(count, dtype=np.int64), bad)


def _names(files: ImageFiles, indices: list[int]) -> tuple[str, ...]:
    return tuple(files.name(index) for index in indices)


def _threads() -> int:
    return min(_MAX_THREADS, os.cpu_count() or 1)


def _too_large(files: ImageFiles, images: int, held: int, free: int | None) -> PemnError:
    _, height, width = files.shape
    over = "more than there is" if free is None else f"over the {free:,} bytes that this machine has free"
    return PemnError(
        f"{files.top}: {images:,} images of {height}x{width} would need {held * files.image_bytes:,} bytes of memory,"
        f" {over}; give a smaller --size, or leave them in their files with --from-disk (from_disk=True)"
    )
