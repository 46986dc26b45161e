"""Philox4x32-10: the counter-based generator behind every seeded number (Salmon et al., SC 2011)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pemn_formats.errors import PemnError

__all__ = ["SEED_LIMIT", "check_seed", "philox4x32", "words"]

SEED_LIMIT = 1 << 64

_MULTIPLIERS = (np.uint64(0xD2511F53), np.uint64(0xCD9E8D57))
_WEYL = (0x9E3779B9, 0xBB67AE85)
_LOW = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)
_BLOCKS_AT_ONCE = 1 << 15  # the temporaries of this many blocks stay within a core's cache


def check_seed(seed: int, what: str = "seed") -> int:
    """Return `seed` when it is an unsigned 64-bit integer; raise `PemnError` otherwise."""
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < SEED_LIMIT:
        raise PemnError(f"{what} must be an integer from 0 to 2^64 - 1, found {seed!r}")
    return seed


def philox4x32(counter: npt.NDArray[np.uint32], key: tuple[int, int]) -> npt.NDArray[np.uint32]:
    """Return the Philox4x32-10 output of each counter.

    `counter` is uint32 of shape (blocks, 4), `key` two 32-bit integers; the result has the counter's shape.
    Checked against the known-answer vectors of Random123.
    """
    lanes = np.empty((6, counter.shape[0]), dtype=np.uint64)
    lanes[:4] = counter.T
    _rounds(lanes, key)
    out: npt.NDArray[np.uint32] = lanes[:4].T.astype(np.uint32)
    return out


def _rounds(lanes: npt.NDArray[np.uint64], key: tuple[int, int]) -> None:
    """Put ten rounds over the first four rows of `lanes`, in place; the last two are scratch.

    Temporaries of numpy's own would cost more than the arithmetic.
    """
    c0, c1, c2, c3, product0, product1 = lanes
    k0, k1 = key
    for _ in range(10):
        np.multiply(c0, _MULTIPLIERS[0], out=product0)
        np.multiply(c2, _MULTIPLIERS[1], out=product1)
        np.right_shift(product1, _HALF, out=c0)
        np.bitwise_xor(c0, c1, out=c0)
        np.bitwise_xor(c0, np.uint64(k0), out=c0)
        np.bitwise_and(product1, _LOW, out=c1)
        np.right_shift(product0, _HALF, out=c2)
        np.bitwise_xor(c2, c3, out=c2)
        np.bitwise_xor(c2, np.uint64(k1), out=c2)
        np.bitwise_and(product0, _LOW, out=c3)
        k0 = (k0 + _WEYL[0]) & 0xFFFFFFFF
        k1 = (k1 + _WEYL[1]) & 0xFFFFFFFF


def words(seed: int, stream: int, start: int, count: int) -> npt.NDArray[np.uint32]:
    """Return words `start` to `start + count` of a stream, as uint32 of shape (count,).

    Word j is lane j % 4 of the block with counter (j // 4, stream), each 64 bits, low half first, under key `seed`.
    Raises `PemnError` for a seed or stream that is not an unsigned 64-bit integer.
    """
    check_seed(seed)
    check_seed(stream, "stream")
    if start < 0 or count < 0 or (start + count + 3) // 4 > SEED_LIMIT:
        raise PemnError(f"words {start} to {start + count} are outside the stream")
    first, last = start // 4, (start + count + 3) // 4
    key = (seed & 0xFFFFFFFF, seed >> 32)
    out = np.empty((last - first, 4), dtype=np.uint32)
    scratch = np.empty((6, min(last - first, _BLOCKS_AT_ONCE)), dtype=np.uint64)
    for begin in range(first, last, _BLOCKS_AT_ONCE):
        end = min(begin + _BLOCKS_AT_ONCE, last)
        lanes = scratch[:, : end - begin]
        block = np.uint64(begin) + np.arange(end - begin, dtype=np.uint64)
        np.bitwise_and(block, _LOW, out=lanes[0])
        np.right_shift(block, _HALF, out=lanes[1])
        lanes[2], lanes[3] = stream & 0xFFFFFFFF, stream >> 32
        _rounds(lanes, key)
        for lane in range(4):
            out[begin - first : end - first, lane] = lanes[lane]
    return out.reshape(-1)[start - first * 4 :][:count]
