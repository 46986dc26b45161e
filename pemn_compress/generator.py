"""Seeded values and fills in torch, with the same bytes as numpy on every device."""

from __future__ import annotations

from functools import partial

import torch

from pemn_compress.tiling import tile
from pemn_formats import fills, philox, values
from pemn_formats.errors import PemnError
from pemn_formats.normal_table import NORMAL_SHIFT, NORMAL_TABLE

__all__ = ["expand", "fill_index", "permute", "seeded_values", "unit_values", "words"]

_LOW = 0xFFFFFFFF
_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_WEYL = (0x9E3779B9, 0xBB67AE85)
_MIX = (0x85EBCA6B, 0xC2B2AE35)
_BLOCKS_AT_ONCE = 1 << 22  # bound the int64 temporaries at a few hundred MB
_VALUES_AT_ONCE = 1 << 24


def words(seed: int, stream: int, start: int, count: int, device: torch.device | str = "cpu") -> torch.Tensor:
    """Return words `start` to `start + count` of a stream as int64 in [0, 2^32), shape (count,).

    The torch twin of `pemn_formats.philox.words`. Raises `PemnError` for a seed or stream that is not an unsigned
    64-bit integer, or for a range outside the stream.
    """
    philox.check_seed(seed)
    philox.check_seed(stream, "stream")
    first, last = start // 4, (start + count + 3) // 4
    if start < 0 or count < 0 or last > philox.SEED_LIMIT:
        raise PemnError(f"words {start} to {start + count} are outside the stream")
    parts = [
        _blocks(seed, stream, begin, min(begin + _BLOCKS_AT_ONCE, last), device)
        for begin in range(first, last, _BLOCKS_AT_ONCE)
    ]
    drawn = torch.cat(parts) if parts else torch.empty(0, dtype=torch.int64, device=device)
    return drawn[start - first * 4 :][:count]


def unit_values(
    distribution: str, seed: int, stream: int, start: int, count: int, device: torch.device | str = "cpu"
) -> torch.Tensor:
    """Return values `start` to `start + count` of a seeded prototype, float32 of shape (count,).

    The torch twin of `pemn_formats.values.unit_values`. Raises `PemnError` for an unknown distribution.
    """
    if count > _VALUES_AT_ONCE:
        starts = range(start, start + count, _VALUES_AT_ONCE)
        return torch.cat(
            [
                unit_values(distribution, seed, stream, at, min(_VALUES_AT_ONCE, start + count - at), device)
                for at in starts
            ]
        )
    draw = partial(words, seed, stream, device=device)
    if distribution == "signed":
        first = start // 32
        bits = _split(draw(first, (start + count + 31) // 32 - first), pieces=32, width=1)
        return 1.0 - 2.0 * bits[start - first * 32 :][:count].to(torch.float32)
    if distribution == "uniform":
        odd = 2 * (draw(start, count) >> 8) + (1 - (1 << 24))
        return odd.to(torch.float32) * 2.0**-24
    if distribution == "normal":
        first = start // 4
        index = _split(draw(first, (start + count + 3) // 4 - first), pieces=4, width=8)
        table = torch.tensor(NORMAL_TABLE.tolist(), dtype=torch.float32, device=device) * 2.0**-NORMAL_SHIFT
        return table[index[start - first * 4 :][:count]]
    raise PemnError(f"unknown distribution {distribution!r}; known: {', '.join(values.DISTRIBUTIONS)}")


def permute(index: torch.Tensor, seed: int, stream: int, span: int) -> torch.Tensor:
    """Return where a seeded permutation of [0, span) sends each index; int64 of the same shape and device.

    The torch twin of `pemn_formats.fills.permute`. Raises `PemnError` for an index or span out of range.
    """
    if not 1 <= span <= 1 << 62:
        raise PemnError(f"a permutation needs a span from 1 to 2^62, found {span}")
    if index.numel() and (int(index.min()) < 0 or int(index.max()) >= span):
        raise PemnError(f"an index to permute lies outside [0, {span})")
    keys = [int(key) for key in fills.feistel_keys(seed, stream)]
    half = fills.half_bits(span)
    out = _feistel(index.reshape(-1), keys, half)
    outside = (out >= span).nonzero().squeeze(1)
    while outside.numel():
        walked = _feistel(out[outside], keys, half)
        out[outside] = walked
        outside = outside[walked >= span]
    return out.reshape(index.shape)


def fill_index(
    length: int, span: int, seed: int, stream: int, start: int, count: int, device: torch.device | str = "cpu"
) -> torch.Tensor:
    """Return the prototype index of places `start` to `start + count` of a tensor, int64 of shape (count,).

    The torch twin of `pemn_formats.fills.fill_index`: `span` 0 tiles, another span shuffles the tiling.
    """
    place = torch.arange(start, start + count, dtype=torch.int64, device=device)
    return (permute(place, seed, stream, span) if span else place) % length


def seeded_values(
    distribution: str, seed: int, stream: int, count: int, device: torch.device | str = "cpu"
) -> torch.Tensor:
    """Return the first `count` unit values of a stream, float32, made where it is fastest for the device."""
    if torch.device(device).type == "cpu":
        return torch.from_numpy(values.unit_values(distribution, seed, stream, 0, count))
    return unit_values(distribution, seed, stream, 0, count, device)


def expand(prototype: torch.Tensor, span: int, seed: int, stream: int, count: int) -> torch.Tensor:
    """Return the base of a tensor of `count` weights, in the dtype and on the device of `prototype`.

    `prototype` holds all values of the vector; without a span the first `count` are enough, and are returned
    themselves when they are just as many. `stream` is that of the permutation.
    """
    length = prototype.numel()
    if not span:
        return prototype if count == length else tile(prototype, count).clone()
    if prototype.device.type == "cpu":
        return torch.from_numpy(fills.permuted(prototype.numpy(), span, seed, stream, 0, count))
    return prototype[fill_index(length, span, seed, stream, 0, count, prototype.device)]


def _blocks(seed: int, stream: int, begin: int, end: int, device: torch.device | str) -> torch.Tensor:
    """Return the words of blocks `begin` to `end`: Philox4x32-10 on 32-bit lanes held in int64.

    The product of two lanes needs 64 bits. int64 multiplication wraps, which keeps all of them; a shift right
    followed by the mask then gives the high half whatever the sign.
    """
    low = torch.arange(end - begin, dtype=torch.int64, device=device) + (begin & _LOW)
    c0, c1 = low & _LOW, (low >> 32) + (begin >> 32)
    c2, c3 = torch.full_like(low, stream & _LOW), torch.full_like(low, stream >> 32)
    k0, k1 = seed & _LOW, seed >> 32
    for _ in range(10):
        product0, product1 = c0 * _MULTIPLIERS[0], c2 * _MULTIPLIERS[1]
        c0, c1 = ((product1 >> 32) & _LOW) ^ c1 ^ k0, product1 & _LOW
        c2, c3 = ((product0 >> 32) & _LOW) ^ c3 ^ k1, product0 & _LOW
        k0, k1 = (k0 + _WEYL[0]) & _LOW, (k1 + _WEYL[1]) & _LOW
    return torch.stack((c0, c1, c2, c3), dim=1).reshape(-1)


def _split(drawn: torch.Tensor, pieces: int, width: int) -> torch.Tensor:
    """Return each word cut into `pieces` fields of `width` bits, least significant first."""
    shifts = torch.arange(0, pieces * width, width, dtype=torch.int64, device=drawn.device)
    return ((drawn[:, None] >> shifts) & ((1 << width) - 1)).reshape(-1)


def _feistel(value: torch.Tensor, keys: list[int], half: int) -> torch.Tensor:
    mask = (1 << half) - 1
    left, right = value >> half, value & mask
    for key in keys:
        left, right = right, left ^ (_mix(right, key) & mask)
    return (left << half) | right


def _mix(half: torch.Tensor, key: int) -> torch.Tensor:
    """Return the finaliser of MurmurHash3 over half and key, on 32 bits held in int64 (products wrap, as above)."""
    mixed = (half ^ key) & _LOW
    mixed = ((mixed ^ (mixed >> 16)) * _MIX[0]) & _LOW
    mixed = ((mixed ^ (mixed >> 13)) * _MIX[1]) & _LOW
    return mixed ^ (mixed >> 16)
