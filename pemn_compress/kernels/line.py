"""The kernel that evaluates the whole line, select(code, scale * base), for many tensors in one launch."""
# mypy: disable-error-code="no-untyped-def, no-untyped-call, untyped-decorator, misc"
# ruff: noqa: N803, N806 (compile-time parameters are written in capitals, as Triton's users do)

from __future__ import annotations

import triton
import triton.language as tl

from pemn_compress.kernels.ternary import ternary_signs
from pemn_compress.kernels.values import normal_values, permuted, signed_bytes, uniform_values

__all__ = ["FIELDS", "line_kernel"]

# The int64 fields of a tensor's row in the table of jobs; the kernel knows them by their numbers. Pointers come first.
FIELDS = (
    *("out", "mask", "negative", "rank", "scale", "values", "keys"),
    *("numel", "per_channel", "length", "seed", "stream", "span", "half"),
)
_WIDTH = tl.constexpr(len(FIELDS))


@triton.jit
def line_kernel(
    jobs,  # int64 (tensors, fields)
    tiles,  # int32 (programs, 2): which tensor, which tile of it
    normal_table,  # float32 (256,)
    SOURCE: tl.constexpr,  # signed | uniform | normal (generated here), bits | plain | tiled | shuffled (read)
    ALPHABET: tl.constexpr,
    CHANNELS: tl.constexpr,  # one | wide | narrow (a channel has under 8 weights)
    DTYPE: tl.constexpr,
    TILE: tl.constexpr,  # weights of a program, a power of two from 512
):
    """Write one tile of one tensor.

    A row is one byte of the mask: eight weights. Where a tile starts is known in 64 bits and everything inside it in
    32, so no tensor is too long for it. No load leaves its tensor; stores write whole rows, for which `out` has room.
    """
    ROWS: tl.constexpr = TILE // 8
    program = tl.program_id(0)
    job = jobs + tl.load(tiles + 2 * program).to(tl.int64) * _WIDTH
    start = tl.load(tiles + 2 * program + 1).to(tl.int64) * TILE
    here = tl.minimum(tl.load(job + 7) - start, TILE).to(tl.int32)
    row = tl.arange(0, ROWS)
    lane = tl.arange(0, 8)[None, :]

    keep, flip = _codes(job, start, row, here, ALPHABET, TILE)
    if SOURCE == "signed":
        flip = flip ^ signed_bytes(tl.load(job + 10), tl.load(job + 11), start, ROWS)
    if SOURCE == "bits":
        flip = flip ^ _tiled_signs(job, start, row, here)
    SIGNED: tl.constexpr = SOURCE == "signed" or SOURCE == "bits"
    PAIRS: tl.constexpr = SIGNED and CHANNELS != "narrow" and DTYPE != "float32"
    if PAIRS:
        bits = _signed_pairs(job, start, row, here, keep, flip, ALPHABET, CHANNELS)
    else:
        # Values of +1 and -1: the scale comes rounded, its sign is all that changes, and no floats are computed.
        TOP: tl.constexpr = 15 if SIGNED and DTYPE != "float32" else 31
        scale = _scale(job, start, row, lane, here, CHANNELS)
        if SIGNED:
            bits = tl.zeros((ROWS, 8), tl.int32) + scale
        else:
            base = _base(job, start, row, lane, here, normal_table, SOURCE, TILE)
            bits = (scale.to(tl.float32, bitcast=True) * base).to(tl.int32, bitcast=True)
        bits = bits ^ (((flip[:, None] >> lane) & 1) << TOP)
        if ALPHABET != "sign":
            bits = tl.where((keep[:, None] >> lane) & 1 != 0, bits, 0)
        if not SIGNED:
            # Rounding comes last: it knows no signs, and +0 stays what it is.
            bits = _rounded(bits, DTYPE)
    _store(job, start, row, here, bits, DTYPE, PAIRS)


@triton.jit
def _signed_pairs(job, start, row, here, keep, flip, ALPHABET: tl.constexpr, CHANNELS: tl.constexpr):
    """Return rows of 16-bit weights, two to a word, (rows, 4), so that each step serves both."""
    if ALPHABET == "sign":
        keep = tl.zeros_like(keep) | 0xFF
    if CHANNELS == "one":
        words = _spaced(keep) * tl.load(_pointer(job, 4, tl.int32))
    else:
        scale, following, left = _two_scales(job, start, row, here)
        first = keep & ((1 << tl.minimum(left, 8)) - 1)
        words = _spaced(first) * scale[:, None] + _spaced(keep ^ first) * following[:, None]
    return words ^ (_spaced(flip & keep) << 15)


@triton.jit
def _spaced(byte):
    """Return the bits of a row two to a word, 16 apart, int32 of shape (rows, 4)."""
    # Times 1 + 2^15, an even bit and the odd one after it are 16 apart.
    return ((byte * 0x8001)[:, None] >> (2 * tl.arange(0, 4)[None, :])) & 0x10001


@triton.jit
def _pointer(job, FIELD: tl.constexpr, TYPE: tl.constexpr):
    return tl.load(job + FIELD).to(tl.pointer_type(TYPE))


@triton.jit
def _codes(job, start, row, here, ALPHABET: tl.constexpr, TILE: tl.constexpr):
    """Return, for each row, which weights are not zero and which are the negative of their value, in 8 bits each."""
    mask = tl.load(_pointer(job, 1, tl.uint8) + start // 8 + row, mask=row * 8 < here, other=0).to(tl.int32)
    if ALPHABET == "keep":
        flip = tl.zeros_like(mask)
    elif ALPHABET == "sign":
        flip = mask ^ 0xFF
    else:
        quarters = _pointer(job, 3, tl.int64) + start // (TILE // 4)
        flip = ternary_signs(_pointer(job, 2, tl.uint8), quarters, mask)
    return mask, flip


@triton.jit
def _scale(job, start, row, lane, here, CHANNELS: tl.constexpr):
    """Return the bits of the scale of every weight, or one for all."""
    scales = _pointer(job, 4, tl.int32)
    if CHANNELS == "one":
        scale = tl.load(scales)
    elif CHANNELS == "narrow":
        per_channel = tl.load(job + 8)
        first = start // per_channel
        into = (start - first * per_channel).to(tl.int32)
        place = row[:, None] * 8 + lane
        scale = tl.load(scales + first + (into + place) // per_channel.to(tl.int32), mask=place < here, other=0)
    else:
        scale, following, left = _two_scales(job, start, row, here)
        scale = tl.where(lane < left[:, None], scale[:, None], following[:, None])
    return scale


@triton.jit
def _two_scales(job, start, row, here):
    """Return the bits of the scale that each row begins with, those of the next, and after how many weights it is."""
    per_channel = tl.load(job + 8)
    first = start // per_channel
    scales = _pointer(job, 4, tl.int32) + first
    into = (start - first * per_channel).to(tl.int32)
    wide = per_channel.to(tl.int32)
    channel = (into + row * 8) // wide
    left = (channel + 1) * wide - into - row * 8
    scale = tl.load(scales + channel, mask=row * 8 < here, other=0)
    following = tl.load(scales + channel + 1, mask=(left < 8) & (row * 8 + left < here), other=0)
    return scale, following, left


@triton.jit
def _tiled_signs(job, start, row, here):
    """Return the signs of a vector that repeats, 8 bits a row; its bits are stored for one length and a tile more."""
    offset = start % tl.load(job + 9)
    signs = _pointer(job, 5, tl.uint8) + offset // 8 + row
    low = tl.load(signs, mask=row * 8 < here, other=0).to(tl.int32)
    high = tl.load(signs + 1, mask=row * 8 < here, other=0).to(tl.int32)
    return ((low | (high << 8)) >> (offset & 7).to(tl.int32)) & 0xFF


@triton.jit
def _base(job, start, row, lane, here, normal_table, SOURCE: tl.constexpr, TILE: tl.constexpr):
    """Return the base of every weight, float32 of shape (rows, 8)."""
    ROWS: tl.constexpr = TILE // 8
    if SOURCE == "uniform":
        base = tl.reshape(uniform_values(tl.load(job + 10), tl.load(job + 11), start, TILE), (ROWS, 8))
    elif SOURCE == "normal":
        drawn = normal_values(tl.load(job + 10), tl.load(job + 11), start, normal_table, TILE)
        base = tl.reshape(drawn, (ROWS, 8))
    else:
        values = _pointer(job, 5, tl.float32)
        place = row[:, None] * 8 + lane
        if SOURCE == "plain":
            base = tl.load(values + start + place, mask=place < here, other=0.0)
        else:
            length = tl.load(job + 9)
            if SOURCE == "tiled":
                # One division a row: the values are stored for one length and a row more. Lengths stay under 2^30.
                first = ((start % length).to(tl.int32) + row * 8) % length.to(tl.int32)
                base = tl.load(values + first[:, None] + lane, mask=place < here, other=0.0)
            else:
                index = tl.where(place < here, start + place, 0)
                index = permuted(index, _pointer(job, 6, tl.int32), tl.load(job + 13), tl.load(job + 12))
                base = tl.load(values + index % length, mask=place < here, other=0.0)
    return base


@triton.jit
def _rounded(bits, DTYPE: tl.constexpr):
    """Return the bits of float32 values, given by theirs, rounded to nearest, ties to even. Values are never NaN."""
    if DTYPE == "float16":
        bits = bits.to(tl.float32, bitcast=True).to(tl.float16).to(tl.int16, bitcast=True).to(tl.int32)
    if DTYPE == "bfloat16":
        # On the bits: the interpreter would truncate. Adding to the magnitude never reaches the sign.
        bits = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
    return bits


@triton.jit
def _store(job, start, row, here, bits, DTYPE: tl.constexpr, PAIRS: tl.constexpr):
    """Write rows, each thread 16 bytes at once."""
    COLUMNS: tl.constexpr = bits.shape[1]
    TYPE: tl.constexpr = tl.int32 if DTYPE == "float32" or PAIRS else tl.int16
    # Alignment is told of the cast itself: of a function's result it would be forgotten.
    out = tl.multiple_of(tl.load(job).to(tl.pointer_type(TYPE)), 16)
    out += start // (8 // COLUMNS) + row[:, None] * COLUMNS + tl.arange(0, COLUMNS)[None, :]
    tl.store(out, bits.to(TYPE), mask=(row * 8 < here)[:, None])
