"""From a packed weight to the dense one, as `reconstruct` makes it: compiled loops on the CPU, torch elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

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
from pemn_formats.value_blocks import BLOCK, ValueBlocks, word_of

__all__ = ["dense_weight", "expanded"]

_JOB = 1 << 20  # weights that a thread takes at a time
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
    if scale.device.type != "cpu" or dtype not in _DTYPES:
        return dense_weight(keep, flip, values, scale, shape, source, seed, stream, length, span).to(dtype)
    name, unsigned = _DTYPES[dtype], seed & _LOW
    blocks = _blocks(values, scale, shape, (source, unsigned, stream, length, span), name)
    out = torch.empty(*shape, dtype=dtype)
    words = out.view(-1).view(torch.int32 if dtype == torch.float32 else torch.int16).numpy().view(word_of(name))
    # One value, and where it is negated, is all there is to +1 and -1 of one scale.
    constant = source == "ones" and scale.numel() == 1
    drawn = blocks.signs_only and flip is None

    def work(first: int) -> None:
        loops = compiled()
        chosen = RowSelect() if loops is None else loops.select
        with np.errstate(over="ignore"):
            for start in range(first, min(first + _JOB, words.size), BLOCK):
                part = words[start : start + BLOCK]
                kept, flipped = _bits(keep, start, part.size), _bits(flip, start, part.size)
                if drawn:
                    flipped = blocks.signs(start, part.size)[: -(-part.size // 8)]
                chosen(part, kept, flipped, blocks.magnitude if constant or drawn else blocks.bits(start, part.size))

    starts = range(0, words.size, _JOB)
    threads = min(torch.get_num_threads(), len(starts))
    if threads > 1:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(work, starts))
    else:
        for first in starts:
            work(first)
    return out


def _bits(plane: torch.Tensor | None, start: int, count: int) -> npt.NDArray[np.uint8] | None:
    """The packed bits of `count` weights from `start`, a multiple of 8."""
    return None if plane is None else plane.numpy()[start // 8 :][: -(-count // 8)]


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
    count = 1
    for side in shape:
        count *= side
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
