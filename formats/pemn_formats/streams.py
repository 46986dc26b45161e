"""The decoded streams of a file in one pass: stored bytes are read once, hashed here and decoded on other threads."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext

import numpy as np

from pemn_formats.errors import PemnError
from pemn_formats.sections import Placed, Section

__all__ = ["Arrived", "Progress", "Wanted", "read_streams"]

Progress = Callable[[int, int], None]
"""Called with the bytes done and the bytes in all."""

Wanted = Callable[[int, Placed], bool]
"""Says of a chunk of a section, given by its number, whether it is decoded."""

Arrived = Callable[[int, Sequence[memoryview], int], None]
"""Called with a section's number, all streams, and up to where the section's is decoded."""


def read_streams(
    sections: Sequence[Section],
    hash_stored: Callable[[bytes], None],
    *,
    threads: int = 1,
    progress: Progress | None = None,
    order: Sequence[int] | None = None,
    wanted: Wanted = lambda number, placed: True,
    arrived: Arrived = lambda number, streams, end: None,
) -> tuple[list[memoryview], PemnError | None]:
    """Return the decoded stream of each section, read-only, and the first error that decoding met, if any.

    `hash_stored` gets all stored bytes in the file's order even so: the file's own digest says more surely what is
    wrong. Beside the streams, two chunks for each thread are held at most, and in another `order` of the sections what
    is stored of those that come too early. Chunks that are not `wanted` are zeros. `arrived` is called here, in order,
    as long as there is no error; what it is shown is no more than what came out of the file.
    """
    # Zeros take no memory until something is written there.
    outs = [np.zeros(section.raw_bytes, np.uint8).data for section in sections]
    streams = [out.toreadonly() for out in outs]
    total, done = sum(placed.chunk.stored for section in sections for placed in section.placed), 0
    failures: dict[int, PemnError] = {}
    hashing = _InOrder(hash_stored, len(sections))
    pending: deque[tuple[int, int, Future[PemnError | None]]] = deque()
    pool = ThreadPoolExecutor(threads) if threads > 1 else None

    def settle(number: int, end: int, error: PemnError | None) -> None:
        if error is not None:
            failures.setdefault(number, error)
        elif not failures:
            arrived(number, streams, end)

    with pool or nullcontext():
        for number in range(len(sections)) if order is None else order:
            section = sections[number]
            for placed in section.placed:
                stored, end = section.read(placed), placed.start + placed.raw
                if not wanted(number, placed):
                    pass
                elif pool is not None:
                    pending.append((number, end, pool.submit(_decode, section, placed, stored, outs[number])))
                elif not failures or number < min(failures):
                    settle(number, end, _decode(section, placed, stored, outs[number]))
                hashing.add(number, stored)
                while pending and (len(pending) > 2 * threads or pending[0][2].done()):
                    number_, end_, job = pending.popleft()
                    settle(number_, end_, job.result())
                done += len(stored)
                if progress is not None:
                    progress(done, total)
            hashing.close(number)
        for number_, end_, job in pending:
            settle(number_, end_, job.result())
    return streams, failures[min(failures)] if failures else None


class _InOrder:
    """Passes stored bytes on in the order of the sections, in whatever order those are read."""

    def __init__(self, pass_on: Callable[[bytes], None], count: int) -> None:
        self._pass_on = pass_on
        self._early: list[list[bytes]] = [[] for _ in range(count)]
        self._closed: set[int] = set()
        self._next = 0

    def add(self, number: int, stored: bytes) -> None:
        """Take the bytes that follow in a section."""
        if number == self._next:
            self._pass_on(stored)
        else:
            self._early[number].append(stored)

    def close(self, number: int) -> None:
        """Take it that a section is read whole."""
        self._closed.add(number)
        while self._next in self._closed:
            self._next += 1
            if self._next < len(self._early):
                for stored in self._early[self._next]:
                    self._pass_on(stored)
                self._early[self._next].clear()


def _decode(section: Section, placed: Placed, stored: bytes, out: memoryview) -> PemnError | None:
    try:
        out[placed.start : placed.start + placed.raw] = section.decode(placed, stored)
    except PemnError as error:
        return error
    return None
