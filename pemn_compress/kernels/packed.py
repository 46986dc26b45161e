"""Products with packed weights: bits become +1, -1 and 0 in registers, never in memory."""
# mypy: disable-error-code="no-untyped-def, no-untyped-call, untyped-decorator, misc"
# ruff: noqa: N803, N806 (compile-time parameters are written in capitals, as Triton's users do)

from __future__ import annotations

import torch
import triton
import triton.language as tl

from pemn_compress.kernels.launch import on_device

__all__ = ["multiply", "supports"]

_LIMIT = 1 << 30
_ROWS = 16  # the fewest of the inputs that a program of a matrix takes
_MOST_ROWS = 65_535 * _ROWS  # CUDA's limit of the grid's second axis; so many rows make up for a dense weight besides
_BLOCK = {"ones": 32, "bits": 32, "signed": 128}  # weights that a row must be a multiple of
_DTYPES = {torch.float32: "float32", torch.float16: "float16", torch.bfloat16: "bfloat16"}
_VECTORS = 2  # up to so many rows each is multiplied as a vector


def supports(rows: torch.Tensor, source: str, length: int) -> bool:
    """Say whether the kernels take a product: values of +1 and -1, rows of whole words or generator blocks."""
    columns = rows.shape[1]
    fits = 0 < columns < _LIMIT and 0 < rows.shape[0] <= _MOST_ROWS and (source != "bits" or length < _LIMIT)
    return source in _BLOCK and columns % _BLOCK[source] == 0 and rows.dtype in _DTYPES and fits


def multiply(
    rows: torch.Tensor,
    keep: torch.Tensor | None,
    flip: torch.Tensor | None,
    values: torch.Tensor | None,
    scale: torch.Tensor,
    bias: torch.Tensor | None,
    outputs: int,
    source: str,
    seed: int,
    stream: int,
    length: int,
) -> torch.Tensor:
    """Return rows @ weight.T + bias, (batch, columns) to (batch, outputs), as `packed_op.packed_linear`."""
    rows = rows.contiguous()
    batch, columns = rows.shape
    out = torch.empty((batch, outputs), dtype=rows.dtype, device=rows.device)
    words = [out if plane is None else plane.view(torch.int32) for plane in (keep, flip, values)]
    settings = {
        "SOURCE": source,
        "KEEP": keep is not None,
        "FLIP": flip is not None,
        "CHANNELS": scale.numel() > 1,
        "BIAS": bias is not None,
        "DTYPE": _DTYPES[rows.dtype],
        "enable_fp_fusion": True,  # a fused addition is rounded once less; Triton warns where nothing is said
    }
    operands = (rows, *words, scale, out if bias is None else bias, out, seed, stream, length, batch, outputs, columns)
    with on_device(rows.device):
        if batch <= _VECTORS:
            grid = (triton.cdiv(outputs, 8), batch)
            _vector_kernel[grid](*operands, **settings, OUTS=8, PART=256 if source == "bits" else 512, num_warps=2)
        else:
            tall = _ROWS if batch <= _ROWS else 32 if batch <= 32 else 64
            wide = 32 if batch <= 32 else 64
            part = 128
            if rows.dtype == torch.float32:  # wider weights, and inputs in two halves, need more registers
                tall, wide, part = min(tall, _ROWS if source == "signed" else 32), 32, 128 if source == "signed" else 64
            grid = (triton.cdiv(outputs, wide), triton.cdiv(batch, tall))
            _matrix_kernel[grid](*operands, **settings, ROWS=tall, OUTS=wide, PART=part, num_warps=4, num_stages=2)
    return out


@triton.jit(do_not_specialize=["seed", "stream", "length"])
def _vector_kernel(
    x, keep, flip, values, scale, bias, y, seed, stream, length, batch, outputs, columns,
    SOURCE: tl.constexpr, KEEP: tl.constexpr, FLIP: tl.constexpr, CHANNELS: tl.constexpr, BIAS: tl.constexpr,
    DTYPE: tl.constexpr, OUTS: tl.constexpr, PART: tl.constexpr,
):  # fmt: skip
    """Write OUTS outputs of one row of the batch."""
    out = tl.program_id(0) * OUTS + tl.arange(0, OUTS)
    x += tl.program_id(1).to(tl.int64) * columns
    total = tl.zeros((OUTS, PART), tl.float32)
    # Where the vector of signs stands at the beginning of each row; a division of 64 bits, so not in the loop.
    first = (out.to(tl.int64) * columns % length).to(tl.int32)
    for part in range(0, columns, PART):
        at = part + tl.arange(0, PART)
        vector = tl.load(x + at, mask=at < columns, other=0.0).to(tl.float32)
        weight = _tile(
            keep, flip, values, seed, stream, length, out, first, part, outputs, columns,
            SOURCE, KEEP, FLIP, "float32", OUTS, PART,
        )  # fmt: skip
        total += weight * vector[None, :]
    result = _finished(tl.sum(total, 1), scale, bias, out, outputs, CHANNELS, BIAS)
    tl.store(y + tl.program_id(1).to(tl.int64) * outputs + out, result.to(y.dtype.element_ty), mask=out < outputs)


@triton.jit(do_not_specialize=["seed", "stream", "length"])
def _matrix_kernel(
    x, keep, flip, values, scale, bias, y, seed, stream, length, batch, outputs, columns,
    SOURCE: tl.constexpr, KEEP: tl.constexpr, FLIP: tl.constexpr, CHANNELS: tl.constexpr, BIAS: tl.constexpr,
    DTYPE: tl.constexpr, ROWS: tl.constexpr, OUTS: tl.constexpr, PART: tl.constexpr,
):  # fmt: skip
    """Write OUTS outputs of ROWS rows of the batch."""
    out = tl.program_id(0) * OUTS + tl.arange(0, OUTS)
    row = tl.program_id(1) * ROWS + tl.arange(0, ROWS)
    total = tl.zeros((ROWS, OUTS), tl.float32)
    # Where the vector of signs stands at the beginning of each row; a division of 64 bits, so not in the loop.
    first = (out.to(tl.int64) * columns % length).to(tl.int32)
    for part in range(0, columns, PART):
        at = part + tl.arange(0, PART)
        inside = (row < batch)[:, None] & (at < columns)[None, :]
        tile = tl.load(x + row[:, None].to(tl.int64) * columns + at[None, :], mask=inside, other=0.0)
        weight = _tile(
            keep, flip, values, seed, stream, length, out, first, part, outputs, columns,
            SOURCE, KEEP, FLIP, DTYPE, OUTS, PART,
        )  # fmt: skip
        # Weights of +1, -1 and 0 are exact in every dtype. Of float32 inputs tensor cores take 11 bits at a time.
        if DTYPE == "float32":
            high, low = _halves(tile)
            total = tl.dot(low, tl.trans(weight), total, input_precision="tf32")
            total = tl.dot(high, tl.trans(weight), total, input_precision="tf32")
        else:
            total = tl.dot(tile, tl.trans(weight), total)
    result = _finished(total, scale, bias, out[None, :], outputs, CHANNELS, BIAS)
    written = (row < batch)[:, None] & (out < outputs)[None, :]
    tl.store(y + row[:, None].to(tl.int64) * outputs + out[None, :], result.to(y.dtype.element_ty), mask=written)


@triton.jit
def _halves(value):
    """Split float32 values into what tensor cores take whole: the first 11 bits, and the other 13 rounded to 11."""
    bits = value.to(tl.int32, bitcast=True)
    high = (bits & -0x2000).to(tl.float32, bitcast=True)
    # Infinity less itself is no number; what is no number has it in the high half.
    low = tl.where(tl.abs(value) < float("inf"), value - high, 0.0).to(tl.int32, bitcast=True)
    high = tl.where(value == value, high, value)
    return high, ((low + 0x1000) & -0x2000).to(tl.float32, bitcast=True)


@triton.jit
def _finished(total, scale, bias, out, outputs, CHANNELS: tl.constexpr, BIAS: tl.constexpr):
    if CHANNELS:
        total = total * tl.load(scale + out, mask=out < outputs, other=0.0)
    else:
        total = total * tl.load(scale)
    if BIAS:
        total = total + tl.load(bias + out, mask=out < outputs, other=0.0).to(tl.float32)
    return total


@triton.jit
def _tile(
    keep, flip, values, seed, stream, length, out, first, part, outputs, columns,
    SOURCE: tl.constexpr, KEEP: tl.constexpr, FLIP: tl.constexpr, DTYPE: tl.constexpr,
    OUTS: tl.constexpr, PART: tl.constexpr,
):  # fmt: skip
    """Return a tile of the weight without its scale, (OUTS, PART) of +1, -1 and 0, zero outside the matrix."""
    WORDS: tl.constexpr = PART // 32
    word = part // 32 + tl.arange(0, WORDS)
    inside = (out < outputs)[:, None] & (word * 32 < columns)[None, :]
    at = out[:, None].to(tl.int64) * (columns // 32) + word[None, :]
    kept = inside.to(tl.int32) * -1
    if KEEP:
        kept = tl.load(keep + at, mask=inside, other=0)
    signs = tl.zeros((OUTS, WORDS), tl.int32)
    if FLIP:
        signs = tl.load(flip + at, mask=inside, other=0)
    if SOURCE == "signed":
        block = out[:, None].to(tl.int64) * (columns // 128) + part // 128 + tl.arange(0, WORDS // 4)[None, :]
        low = (block & 0xFFFFFFFF).to(tl.uint32)
        high = (block >> 32).to(tl.uint32)
        of_stream = tl.zeros_like(low) + stream.to(tl.uint32)
        word0, word1, word2, word3 = tl.philox(seed, low, high, of_stream, tl.zeros_like(low))
        drawn = tl.join(tl.join(word0, word2), tl.join(word1, word3))
        signs = signs ^ tl.reshape(drawn, (OUTS, WORDS)).to(tl.int32, bitcast=True)
    if SOURCE == "bits":
        # The vector's bits start over at every multiple of its length; a word of them begins anywhere.
        bit = (first[:, None] + word[None, :] * 32) % length
        low = tl.load(values + (bit >> 5), mask=inside, other=0).to(tl.uint32, bitcast=True)
        high = tl.load(values + (bit >> 5) + 1, mask=inside, other=0).to(tl.uint32, bitcast=True)
        by = (bit & 31).to(tl.uint32)
        signs = signs ^ ((low >> by) | ((high << 1) << (31 - by))).to(tl.int32, bitcast=True)
    lane = tl.arange(0, 32)[None, None, :]
    negative = (signs[:, :, None] >> lane) & 1
    present = -((kept[:, :, None] >> lane) & 1)
    if DTYPE == "float32":
        weight = (((negative << 31) | 0x3F800000) & present).to(tl.float32, bitcast=True)
    elif DTYPE == "float16":
        weight = (((negative << 15) | 0x3C00) & present).to(tl.int16).to(tl.float16, bitcast=True)
    else:
        weight = (((negative << 15) | 0x3F80) & present).to(tl.int16).to(tl.bfloat16, bitcast=True)
    return tl.reshape(weight, (OUTS, PART))
