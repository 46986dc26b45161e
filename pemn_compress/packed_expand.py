"""From a packed weight to the dense one, as `reconstruct` makes it: compiled loops on the CPU, torch elsewhere."""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from pemn_compress.generator import expand, seeded_values
from pemn_compress.line import broadcast_scale, select
from pemn_compress.rebuild import unpack_bits
from pemn_formats.bit_rows import RowSelect
from pemn_formats.bits import unpack
from pemn_formats.content import Content, MaskedSpec, Prototype, ResidualTensor
from pemn_formats.fills import PERMUTATION_STREAM
from pemn_formats.native import compiled
from pemn_formats.value_blocks import ValueBlocks, word_of

__all__ = ["Parts", "dense_weight", "expanded", "in_parts"]

_JOB = 1 << 19  # weights that a thread takes at a time
# Weights written at once. The compiled loops write longer pieces past the cache, where a product would wait for them.
_PIECE = 1 << 15
_DTYPES = {torch.float32: "float32", torch.float16: "float16", torch.bfloat16: "bfloat16"}
_LOW = (1 << 64) - 1


def expanded(
    keep: torch.Tensor | None,
    flip: torch.Tensor | None,
    values: torch.Tensor | None,
    scale: torch.Tensor,
    shape: Sequence[int],
    source: str,
    seed: int,
    stream: int,
    length: int,
    span: int,
    dtype: torch.dtype,
) -> torch.Tensor:
    """Return the dense weight of a `PackedWeight`, rounded once to `dtype`."""
    if not in_parts(scale.device, dtype):
        return dense_weight(keep, flip, values, scale, shape, source, seed, stream, length, span).to(dtype)
    out = torch.empty(*shape, dtype=dtype)
    with Parts(keep, flip, values, scale, shape, source, seed, stream, length, span, dtype) as parts:
        parts.write(out.view(-1), 0)
    return out


def in_parts(device: torch.device, dtype: torch.dtype) -> bool:
    """Say whether `Parts` serves a device and a dtype."""
    return device.type == "cpu" and dtype in _DTYPES


class Parts:
    """A packed weight on the CPU, from which any part can be expanded; use it as a context manager."""

    def __init__(
        self,
        keep: torch.Tensor | None,
        flip: torch.Tensor | None,
        values: torch.Tensor | None,
        scale: torch.Tensor,
        shape: Sequence[int],
        source: str,
        seed: int,
        stream: int,
        length: int,
        span: int,
        dtype: torch.dtype,
    ) -> None:
        self._keep, self._flip = (None if plane is None else plane.numpy() for plane in (keep, flip))
        self._blocks = _blocks(values, scale, shape, (source, seed & _LOW, stream, length, span), _DTYPES[dtype])
        self._dtype = dtype
        # One value, and where it is negated, is all there is to +1 and -1 of one scale.
        self._constant = source == "ones" and scale.numel() == 1
        self._drawn = self._blocks.signs_only and flip is None
        threads = min(torch.get_num_threads(), -(-math.prod(shape) // _JOB))
        self._pool = ThreadPoolExecutor(threads) if threads > 1 else None

    def __enter__(self) -> Parts:
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.shutdown()

    def write(self, out: torch.Tensor, first: int) -> None:
        """Write the weights from `first`, a multiple of 32, over a flat and contiguous tensor of the dtype."""
        bits = torch.int32 if self._dtype == torch.float32 else torch.int16
        words = out.view(bits).numpy().view(word_of(_DTYPES[self._dtype]))
        starts = range(0, words.size, _JOB)
        if self._pool is None or len(starts) == 1:
            for start in starts:
                self._write(words[start : start + _JOB], first + start)
            return
        for done in [self._pool.submit(self._write, words[at : at + _JOB], first + at) for at in starts]:
            done.result()

    def _write(self, words: npt.NDArray[Any], first: int) -> None:
        loops = compiled()
        chosen = RowSelect() if loops is None else loops.select
        with np.errstate(over="ignore"):
            for at in range(0, words.size, _PIECE):
                part, start = words[at : at + _PIECE], first + at
                kept, flipped = _bits(self._keep, start, part.size), _bits(self._flip, start, part.size)
                if self._drawn:
                    flipped = self._blocks.signs(start, part.size)[: -(-part.size // 8)]
                one = self._constant or self._drawn
                chosen(part, kept, flipped, self._blocks.magnitude if one else self._blocks.bits(start, part.size))


def _bits(plane: npt.NDArray[np.uint8] | None, start: int, count: int) -> npt.NDArray[np.uint8] | None:
    """The packed bits of `count` weights from `start`, a multiple of 8."""
    return None if plane is None else plane[start // 8 :][: -(-count // 8)]


def _blocks(
    values: torch.Tensor | None,
    scale: torch.Tensor,
    shape: Sequence[int],
    drawn: tuple[str, int, int, int, int],
    dtype: str,
) -> ValueBlocks:
    """The values that a weight is selected from, as a file's tensor would have them."""
    source, seed, stream, length, span = drawn
    one = np.float32(scale[0]) if scale.numel() == 1 else None
    tensor = MaskedSpec("", tuple(shape), stream, span, "keep", one)
    if source == "ones":
        prototype = Prototype(1, "float32", np.ones(1, np.float32))
    elif source == "bits" and values is not None:
        prototype = Prototype(length, "float32", _signs(values.numpy(), length))
    elif source == "values" and values is not None:
        prototype = Prototype(values.numel(), "float32", values.view(torch.float32).numpy())
    else:
        prototype = Prototype(length, source)
    scales = ResidualTensor("", (scale.numel(),), "scale", "float32", values=scale.numpy())
    # A tensor's prototype is known by its place, which is also the stream that it is drawn from.
    return ValueBlocks(Content(seed, (prototype,) * (stream + 1), (), (scales,)), tensor, dtype)


def _signs(packed: npt.NDArray[np.uint8], count: int) -> npt.NDArray[np.float32]:
    signs: npt.NDArray[np.float32] = 1.0 - 2.0 * unpack(packed, count).astype(np.float32)
    return signs


def dense_weight(
    keep: torch.Tensor | None,
    flip: torch.Tensor | None,
    values: torch.Tensor | None,
    scale: torch.Tensor,
    shape: Sequence[int],
    source: str,
    seed: int,
    stream: int,
    length: int,
    span: int,
) -> torch.Tensor:
    """Return the dense weight of a `PackedWeight`, float32 of its shape, with torch alone, on any device."""
    count = math.prod(shape)
    device, unsigned = scale.device, seed & _LOW
    if source == "ones":
        base = torch.ones(count, device=device)
    elif source == "bits" and values is not None:
        signs = expand(unpack_bits(values, length), 0, 0, 0, count)
        base = 1.0 - 2.0 * signs.to(torch.float32)
    elif source == "values" and values is not None:
        base = expand(values.view(torch.float32), span, unsigned, PERMUTATION_STREAM + stream, count)
    else:
        base = seeded_values(source, unsigned, stream, count, device)
    weight = base.reshape(*shape) * broadcast_scale(scale if scale.numel() > 1 else scale[0], len(shape))
    if flip is not None:
        weight = select(~unpack_bits(flip, count).reshape(*shape), weight, "sign")
    if keep is not None:
        weight = select(unpack_bits(keep, count).reshape(*shape), weight, "keep")
    return weight
