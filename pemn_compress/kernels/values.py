"""Seeded values inside a kernel: generator, distributions and permutation, with the bytes of `pemn_formats`."""
# mypy: disable-error-code="no-untyped-def, no-untyped-call, untyped-decorator, misc"

from __future__ import annotations

import triton
import triton.language as tl

__all__ = ["block_words", "normal_indices", "normal_values", "permuted", "signed_bytes", "uniform_values"]


@triton.jit
def block_words(seed, stream, first_block, BLOCKS: tl.constexpr):  # noqa: N803
    """Words of `BLOCKS` consecutive blocks, uint32 of shape (4 * BLOCKS,). `first_block` is a multiple of BLOCKS.

    BLOCKS is a power of two, so that the low counter word never carries inside the run.
    """
    low = (first_block & 0xFFFFFFFF).to(tl.uint32) + tl.arange(0, BLOCKS).to(tl.uint32)
    zero = tl.zeros_like(low)
    high = zero + (first_block >> 32).to(tl.uint32)
    stream_low = zero + (stream & 0xFFFFFFFF).to(tl.uint32)
    stream_high = zero + (stream >> 32).to(tl.uint32)
    word0, word1, word2, word3 = tl.philox(seed, low, high, stream_low, stream_high)
    # join puts its operands side by side in a new last axis: (0, 2) with (1, 3) flattens to 0, 1, 2, 3.
    return tl.reshape(tl.join(tl.join(word0, word2), tl.join(word1, word3)), (4 * BLOCKS,))


@triton.jit
def signed_bytes(seed, stream, first, COUNT: tl.constexpr):  # noqa: N803
    """Signs of 8 * COUNT weights from number `first`, int32 of shape (COUNT,), in the low 8 bits."""
    words = block_words(seed, stream, first // 128, COUNT // 16)
    pieces = (words[:, None] >> (8 * tl.arange(0, 4)).to(tl.uint32)[None, :]) & 0xFF
    return tl.reshape(pieces, (COUNT,)).to(tl.int32)


@triton.jit
def uniform_values(seed, stream, first, COUNT: tl.constexpr):  # noqa: N803
    """Values of `uniform` from number `first`, float32 of shape (COUNT,)."""
    words = block_words(seed, stream, first // 4, COUNT // 4)
    odd = 2 * (words >> 8).to(tl.int32) + (1 - (1 << 24))
    return odd.to(tl.float32) * 5.9604644775390625e-08  # 2^-24


@triton.jit
def normal_indices(seed, stream, first, COUNT: tl.constexpr):  # noqa: N803
    """Which quantiles the values of `normal` are from number `first`, int32 of shape (COUNT,), from 0 to 255."""
    words = block_words(seed, stream, first // 16, COUNT // 16)
    pieces = (words[:, None] >> (8 * tl.arange(0, 4)).to(tl.uint32)[None, :]) & 0xFF
    return tl.reshape(pieces, (COUNT,)).to(tl.int32)


@triton.jit
def normal_values(seed, stream, first, table, COUNT: tl.constexpr):  # noqa: N803
    """Values of `normal` from number `first`, float32 of shape (COUNT,). `table` holds the 256 quantiles."""
    return tl.gather(tl.load(table + tl.arange(0, 256)), normal_indices(seed, stream, first, COUNT), 0)


@triton.jit
def permuted(index, keys, half, span):
    """Where the permutation of [0, span) sends each int64 index: `pemn_formats.fills.permute`."""
    out = _feistel(index, keys, half)
    while tl.sum((out >= span).to(tl.int32)) > 0:
        out = tl.where(out >= span, _feistel(out, keys, half), out)
    return out


@triton.jit
def _feistel(value, keys, half):
    mask = ((tl.full((), 1, tl.int64) << half) - 1).to(tl.uint32)
    left = (value >> half).to(tl.uint32)
    right = value.to(tl.uint32) & mask
    for at in tl.static_range(6):
        key = tl.load(keys + at).to(tl.uint32, bitcast=True)
        mixed = right ^ key
        mixed = (mixed ^ (mixed >> 16)) * 0x85EBCA6B
        mixed = (mixed ^ (mixed >> 13)) * 0xC2B2AE35
        mixed = mixed ^ (mixed >> 16)
        swapped = left ^ (mixed & mask)
        left = right
        right = swapped
    return (left.to(tl.int64) << half) | right.to(tl.int64)
