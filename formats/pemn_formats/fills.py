"""Fill rules: which value of a prototype stands at which place of a tensor."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from pemn_formats.errors import PemnError
from pemn_formats.native import compiled
from pemn_formats.philox import words

__all__ = ["PERMUTATION_STREAM", "SCORE_STREAM", "feistel_keys", "fill_index", "half_bits", "permute", "permuted"]

# Streams 0 to 2^32 - 1 belong to prototypes. Above them lie the permutations and the initial scores of training.
PERMUTATION_STREAM = 1 << 32
SCORE_STREAM = 1 << 33

FEISTEL_ROUNDS = 6
_MIX = (np.uint64(0x85EBCA6B), np.uint64(0xC2B2AE35))
_LOW = np.uint64(0xFFFFFFFF)


def half_bits(span: int) -> int:
    """Return the width in bits of one Feistel half: the smallest b >= 1 with 4^b >= span."""
    return max(1, ((span - 1).bit_length() + 1) // 2)


def feistel_keys(seed: int, stream: int) -> npt.NDArray[np.uint32]:
    """Return the round keys, uint32 of shape (6,): the first words of the stream."""
    return words(seed, stream, 0, FEISTEL_ROUNDS)


def permute(index: npt.NDArray[np.int64], seed: int, stream: int, span: int) -> npt.NDArray[np.int64]:
    """Return where a seeded permutation of [0, span) sends each index; int64 of the same shape.

    A six-round Feistel network on 2b bits, walked until it lands inside the span (Black and Rogaway, 2002), so that one
    element costs no memory for the others. The round function is the finaliser of MurmurHash3 over half and key.
    Raises `PemnError` for an index outside [0, span) or a span outside [1, 2^62].
    """
    if not 1 <= span <= 1 << 62:
        raise PemnError(f"a permutation needs a span from 1 to 2^62, found {span}")
    if index.size and (int(index.min()) < 0 or int(index.max()) >= span):
        raise PemnError(f"an index to permute lies outside [0, {span})")
    keys = feistel_keys(seed, stream).astype(np.uint64)
    half = half_bits(span)
    out = _feistel(index.astype(np.uint64).reshape(-1), keys, half)
    outside = np.flatnonzero(out >= np.uint64(span))
    while outside.size:
        out[outside] = _feistel(out[outside], keys, half)
        outside = outside[out[outside] >= np.uint64(span)]
    return out.astype(np.int64).reshape(index.shape)


def fill_index(length: int, span: int, seed: int, stream: int, start: int, count: int) -> npt.NDArray[np.int64]:
    """Return the prototype index of places `start` to `start + count` of a tensor, int64 of shape (count,).

    `span` 0 tiles: place i takes value i mod `length`. Otherwise place i takes value permute(i) mod `length`, the
    permutation being one of [0, span).
    """
    place = np.arange(start, start + count, dtype=np.int64)
    if span:
        place = permute(place, seed, stream, span)
    index: npt.NDArray[np.int64] = place % np.int64(length)
    return index


def permuted(vector: npt.NDArray[Any], span: int, seed: int, stream: int, start: int, count: int) -> npt.NDArray[Any]:
    """Return `vector[fill_index(vector.size, span, seed, stream, start, count)]`, of shape (count,).

    `vector` is contiguous and holds items of 2 or 4 bytes.
    """
    loops = compiled()
    if loops is None:
        return vector[fill_index(vector.size, span, seed, stream, start, count)]
    out = np.empty(count, dtype=vector.dtype)
    loops.permuted(out, vector, feistel_keys(seed, stream), start, span)
    return out


def _feistel(value: npt.NDArray[np.uint64], keys: npt.NDArray[np.uint64], half: int) -> npt.NDArray[np.uint64]:
    shift = np.uint64(half)
    mask = np.uint64((1 << half) - 1)
    left, right = value >> shift, value & mask
    for key in keys:
        left, right = right, left ^ (_mix(right, key) & mask)
    joined: npt.NDArray[np.uint64] = (left << shift) | right
    return joined


def _mix(half: npt.NDArray[np.uint64], key: np.uint64) -> npt.NDArray[np.uint64]:
    mixed: npt.NDArray[np.uint64] = (half ^ key) & _LOW
    mixed = ((mixed ^ (mixed >> np.uint64(16))) * _MIX[0]) & _LOW
    mixed = ((mixed ^ (mixed >> np.uint64(13))) * _MIX[1]) & _LOW
    mixed = mixed ^ (mixed >> np.uint64(16))
    return mixed
