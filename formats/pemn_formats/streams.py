"""The decoded streams of a file in one pass: stored bytes are read once, hashed here and decoded on other threads."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext

from pemn_formats.errors import PemnError
from pemn_formats.sections import Placed, Section

__all__ = ["Progress", "read_streams"]

Progress = Callable[[int, int], None]
"""Called with the bytes done and the bytes in all."""


def read_streams(
    sections: Sequence[Section],
    hash_stored: Callable[[bytes], None],
    *,
    threads: int = 1,
    progress: Progress | None = None,
) -> tuple[list[memoryview], PemnError | None]:
    """Return the decoded stream of each section, read-only, and the first error that decoding met, if any.

    `hash_stored` gets all stored bytes in order even so: the file's own digest says more surely what is wrong. Beside
    the streams, two chunks for each thread are held at most.
    """
    outs = [bytearray(section.raw_bytes) for section in sections]
    total, done = sum(placed.chunk.stored for section in sections for placed in section.placed), 0
    failure: PemnError | None = None
    pending: deque[Future[PemnError | None]] = deque()
    pool = ThreadPoolExecutor(threads) if threads > 1 else None
    with pool or nullcontext():
        for section, out in zip(sections, outs, strict=True):
            for placed in section.placed:
                stored = section.read(placed)
                if pool is not None:
                    pending.append(pool.submit(_decode, section, placed, stored, out))
                elif failure is None:
                    failure = _decode(section, placed, stored, out)
                hash_stored(stored)
                while len(pending) > 2 * threads:
                    failure = failure or pending.popleft().result()
                done += len(stored)
                if progress is not None:
                    progress(done, total)
        for job in pending:
            failure = failure or job.result()
    return [memoryview(out).toreadonly() for out in outs], failure


def _decode(section: Section, placed: Placed, stored: bytes, out: bytearray) -> PemnError | None:
    try:
        out[placed.start : placed.start + placed.raw] = section.decode(placed, stored)
    except PemnError as error:
        return error
    return None
