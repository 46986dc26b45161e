"""Philox4x32-10: the counter-based generator behind every seeded number (Salmon et al., SC 2011)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pemn_formats.errors import PemnError
from pemn_formats.native import compiled

__all__ = ["SEED_LIMIT", "check_seed", "philox4x32", "words"]

SEED_LIMIT = 1 << 64

_FIRST, _SECOND = 0xD2511F53, 0xCD9E8D57  # the multipliers of c0 and of c2
_WEYL = (0x9E3779B9, 0xBB67AE85)
_WORD = 0xFFFFFFFF
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
    lanes = np.empty((4, counter.shape[0]), dtype=np.uint64)
    c0, c1, c2, c3 = counter.T.astype(np.uint64)
    lanes[0] = c0 << _HALF | c1
    lanes[1] = c2 << _HALF | c3
    out = np.empty((counter.shape[0], 2), dtype=np.uint64)
    _rounds(lanes, _round_keys(key), out)
    return _as_words(out)


def _round_keys(key: tuple[int, int]) -> list[tuple[int, int]]:
    """The keys of the ten rounds, each in the upper half of 64 bits."""
    first, second = _WEYL
    return [((key[0] + at * first & _WORD) << 32, (key[1] + at * second & _WORD) << 32) for at in range(10)]


def _rounds(lanes: npt.NDArray[np.uint64], keys: list[tuple[int, int]], out: npt.NDArray[np.uint64]) -> None:
    """Put rounds over counters and write the result to `out`, shape (blocks, 2): the words of the spec, two and two.

    The first two rows of `lanes` hold c0 2^32 + c1 and c2 2^32 + c3, the other two are scratch. A round takes them to
    (c2 * second) xor (c1 2^32) xor (k0 2^32) and (c0 * first) xor (c3 2^32) xor (k1 2^32). All in place: temporaries
    of numpy's own would cost more than the arithmetic.
    """
    left, right, product, other = lanes
    for k0, k1 in keys:
        np.right_shift(right, _HALF, out=product)
        np.right_shift(left, _HALF, out=other)
        np.multiply(product, np.uint64(_SECOND), out=product)
        np.multiply(other, np.uint64(_FIRST), out=other)
        np.left_shift(left, _HALF, out=left)
        np.left_shift(right, _HALF, out=right)
        np.bitwise_xor(left, product, out=left)
        np.bitwise_xor(right, other, out=right)
        np.bitwise_xor(left, np.uint64(k0), out=left)
        np.bitwise_xor(right, np.uint64(k1), out=right)
    for half, words_of in ((left, out[:, 0]), (right, out[:, 1])):
        np.right_shift(half, _HALF, out=product)
        np.left_shift(half, _HALF, out=half)
        np.bitwise_or(half, product, out=words_of)


def _as_words(out: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint32]:
    words_of: npt.NDArray[np.uint32] = out.astype("<u8", copy=False).view("<u4").astype(np.uint32, copy=False)
    return words_of


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
    loops = compiled()
    if loops is not None:
        filled = np.empty(4 * (last - first), dtype=np.uint32)
        loops.words(filled, first, stream, seed)
        return filled[start - first * 4 :][:count]
    keys = _round_keys((seed & _WORD, seed >> 32))
    out = np.empty((last - first, 2), dtype=np.uint64)
    scratch = np.empty((4, min(last - first, _BLOCKS_AT_ONCE)), dtype=np.uint64)
    begin = first
    while begin < last:
        # c1 is the same in all blocks of one turn.
        end = min(begin + _BLOCKS_AT_ONCE, last, ((begin >> 32) + 1) << 32)
        lanes = scratch[:, : end - begin]
        _two_rounds(lanes, begin, stream, keys)
        _rounds(lanes, keys[2:], out[begin - first : end - first])
        begin = end
    return _as_words(out).reshape(-1)[start - first * 4 :][:count]


def _two_rounds(lanes: npt.NDArray[np.uint64], begin: int, stream: int, keys: list[tuple[int, int]]) -> None:
    """The first two rounds over the counters of blocks from `begin` on, which differ in c0 alone, for `_rounds`."""
    (k0, k1), (next0, next1) = keys[:2]
    left, right = lanes[:2]
    low, high = stream & _WORD, stream >> 32
    # After the first round the left half is one number, and half of the second is known before it starts.
    one = _SECOND * low ^ (begin >> 32) << 32 ^ k0
    block = np.arange(begin & _WORD, (begin & _WORD) + right.size, dtype=np.uint64)
    np.multiply(block, np.uint64(_FIRST), out=right)
    np.bitwise_xor(right, np.uint64(high << 32 ^ k1), out=right)
    np.right_shift(right, _HALF, out=left)
    np.multiply(left, np.uint64(_SECOND), out=left)
    np.bitwise_xor(left, np.uint64((one & _WORD) << 32 ^ next0), out=left)
    np.left_shift(right, _HALF, out=right)
    np.bitwise_xor(right, np.uint64(_FIRST * (one >> 32) ^ next1), out=right)
