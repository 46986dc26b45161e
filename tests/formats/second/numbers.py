"""Generator, values, fills, roundings and the 8-bit logarithmic format by SPEC.md, sections 7 and 8."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from functools import lru_cache

LOW = (1 << 32) - 1
# SPEC.md, section 12: entries 128 to 255 of T; entry 255 - i is the negative of entry i.
# fmt: off
UPPER_HALF = (
       40,   121,   201,   282,   362,   442,   523,   604,   684,   765,   846,   927,  1008,  1089,  1170,  1251,
     1333,  1414,  1496,  1578,  1660,  1742,  1824,  1907,  1989,  2072,  2155,  2239,  2322,  2406,  2490,  2575,
     2659,  2744,  2829,  2915,  3001,  3087,  3173,  3260,  3347,  3435,  3523,  3611,  3700,  3789,  3879,  3969,
     4060,  4151,  4242,  4334,  4427,  4520,  4614,  4709,  4804,  4900,  4996,  5093,  5191,  5289,  5389,  5489,
     5590,  5692,  5794,  5898,  6003,  6108,  6215,  6322,  6431,  6541,  6652,  6764,  6878,  6992,  7109,  7226,
     7346,  7466,  7589,  7713,  7839,  7967,  8096,  8228,  8362,  8498,  8637,  8778,  8921,  9068,  9217,  9370,
     9526,  9685,  9848, 10015, 10187, 10362, 10543, 10729, 10921, 11119, 11323, 11535, 11755, 11983, 12221, 12470,
    12731, 13006, 13295, 13603, 13930, 14282, 14662, 15076, 15532, 16042, 16622, 17300, 18122, 19178, 20700, 23699,
)
# fmt: on
PERMUTATION_STREAM = 1 << 32


def philox(counter: tuple[int, int, int, int], key: tuple[int, int]) -> tuple[int, int, int, int]:
    """Philox4x32-10."""
    a, b, c, d = counter
    x, y = key
    for _ in range(10):
        left, right = 0xD2511F53 * a, 0xCD9E8D57 * c
        a, b, c, d = (right >> 32) ^ b ^ x, right & LOW, (left >> 32) ^ d ^ y, left & LOW
        x, y = (x + 0x9E3779B9) & LOW, (y + 0xBB67AE85) & LOW
    return a, b, c, d


def words(seed: int, stream: int, count: int) -> list[int]:
    """The first words of a stream."""
    out: list[int] = []
    for block in range(-(-count // 4)):
        out += philox((block & LOW, block >> 32, stream & LOW, stream >> 32), (seed & LOW, seed >> 32))
    return out[:count]


def unit_values(source: str, seed: int, stream: int, count: int) -> list[float]:
    """The values of a seeded prototype."""
    if source == "signed":
        drawn = words(seed, stream, -(-count // 32))
        return [-1.0 if drawn[i // 32] >> i % 32 & 1 else 1.0 for i in range(count)]
    if source == "uniform":
        return [(2 * (word >> 8) + 1 - (1 << 24)) / (1 << 24) for word in words(seed, stream, count)]
    table = [*(-value for value in reversed(UPPER_HALF)), *UPPER_HALF]
    drawn = words(seed, stream, -(-count // 4))
    return [table[drawn[i // 4] >> 8 * (i % 4) & 255] / (1 << 13) for i in range(count)]


def places(length: int, span: int, seed: int, prototype: int, begin: int, end: int) -> Iterator[int]:
    """The index into the prototype of each weight from `begin` to `end`."""
    if span == 0:
        yield from (i % length for i in range(begin, end))
        return
    half = 1
    while 4**half < span:
        half += 1
    keys = words(seed, PERMUTATION_STREAM + prototype, 6)
    for i in range(begin, end):
        x = _pass(i, half, keys)
        while x >= span:
            x = _pass(x, half, keys)
        yield x % length


def _pass(x: int, half: int, keys: list[int]) -> int:
    low = (1 << half) - 1
    left, right = x >> half, x & low
    for key in keys:
        h = right ^ key
        h = (h ^ (h >> 16)) * 0x85EBCA6B & LOW
        h = (h ^ (h >> 13)) * 0xC2B2AE35 & LOW
        left, right = right, left ^ ((h ^ (h >> 16)) & low)
    return (left << half) | right


def float_of(bits: int) -> float:
    """The binary32 of these bits."""
    value: float = struct.unpack("<f", struct.pack("<I", bits))[0]
    return value


def single(value: float) -> float:
    """Round to binary32. A product of two binary32 is exact before this, a difference from 1 is rounded only here."""
    try:
        rounded: float = struct.unpack("<f", struct.pack("<f", value))[0]
    except OverflowError:
        rounded = math.copysign(math.inf, value)
    return rounded


def stored_as(dtype: str, value: float) -> bytes:
    """Round a binary32 to an output dtype; its bytes."""
    if dtype == "bfloat16":
        (bits,) = struct.unpack("<I", struct.pack("<f", value))
        return struct.pack("<H", (bits + 0x7FFF + (bits >> 16 & 1)) >> 16)
    if dtype == "float16":
        try:
            return struct.pack("<e", value)
        except OverflowError:
            return struct.pack("<e", math.copysign(math.inf, value))
    return struct.pack("<f", value)


def floats_of(dtype: str, data: bytes) -> list[float]:
    """Stored floats as binary32 values."""
    if dtype == "bfloat16":
        data = b"".join(b"\0\0" + data[at : at + 2] for at in range(0, len(data), 2))
        return floats_of("float32", data)
    code, width = {"float16": ("e", 2), "float32": ("f", 4)}[dtype]
    return list(struct.unpack(f"<{len(data) // width}{code}", data))


@lru_cache(maxsize=1)
def log8_steps() -> tuple[int, ...]:
    """U * 2^24: the integer nearest to 2^(24 - j/64), found as a 64th root."""
    steps = []
    for j in range(64):
        below, above = 0, 1 << 25
        while above - below > 1:
            middle = (below + above) // 2
            if (2 * middle - 1) ** 64 <= 1 << (64 * 25 - j):
                below = middle
            else:
                above = middle
        steps.append(below)
    return tuple(steps)


def log8_parts(data: bytes, vectors: int) -> tuple[list[float], bytes, bytes]:
    """Ranges, shifts and codes of a `log8` entry."""
    return floats_of("float32", data[: 4 * vectors]), data[4 * vectors : 5 * vectors], data[5 * vectors :]


def log8_values(data: bytes, vectors: int) -> list[float]:
    """The values of a `log8` entry."""
    ranges, shifts, codes = log8_parts(data, vectors)
    out = []
    for at, code in enumerate(codes):
        vector = at * vectors // len(codes)
        level = code % 128
        step = (127 - level) << shifts[vector]
        size = single(math.ldexp(log8_steps()[step % 64], -24 - step // 64) * ranges[vector]) if level else 0.0
        out.append(-size if code >= 128 else size)
    return out
