"""Training without dense values: weights from scores and gradients back to them, values drawn where they are used.

Each pass reads and writes one tensor; the plain operations read a buffer of values besides. Nothing calls this yet: it
waits for a measurement on a device (`python -m benchmarks.fused_masks`).
"""
# mypy: disable-error-code="no-untyped-def, no-untyped-call, untyped-decorator, misc"
# ruff: noqa: N803 (compile-time parameters are written in capitals, as Triton's users do)

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import triton
import triton.language as tl

from pemn_compress.kernels.launch import as_signed, on_device
from pemn_compress.kernels.values import normal_values, signed_bytes, uniform_values
from pemn_formats.normal_table import NORMAL_SHIFT, NORMAL_TABLE

__all__ = ["Seeded", "masked_weight", "score_gradient"]

_TILE = 4096  # weights of a program


@dataclass(frozen=True)
class Seeded:
    """Where the values of a tensor come from, which has as many of its own: `scale` times a stream's first ones."""

    distribution: str
    seed: int
    stream: int
    scale: float


def masked_weight(score: torch.Tensor, values: Seeded, alphabet: str, margin: float = 0.0) -> torch.Tensor:
    """Return what the learner `threshold` selects for contiguous float32 scores, in their shape, with the same bits.

    `margin` is the constant of the ternary alphabet.
    """
    return _launch(score, values, alphabet, margin)


def score_gradient(gradient: torch.Tensor, values: Seeded) -> torch.Tensor:
    """Return the gradient of the scores from that of the weights, contiguous float32: values times it."""
    return _launch(gradient, values, "none", 0.0)


def _launch(given: torch.Tensor, values: Seeded, alphabet: str, margin: float) -> torch.Tensor:
    out = torch.empty_like(given)
    seed = as_signed(values.seed)
    scale = float(np.float32(values.scale))
    table = _table(given.device) if values.distribution == "normal" else out
    with on_device(given.device):
        training_kernel[(triton.cdiv(given.numel(), _TILE),)](
            given, out, table, given.numel(), seed, values.stream, scale, margin,
            SOURCE=values.distribution, ALPHABET=alphabet, TILE=_TILE, num_warps=4,
            enable_fp_fusion=False,
        )  # fmt: skip
    return out


@triton.jit(do_not_specialize=["seed", "stream"])
def training_kernel(
    given, out, normal_table, numel, seed, stream, scale, margin,
    SOURCE: tl.constexpr, ALPHABET: tl.constexpr, TILE: tl.constexpr,
):  # fmt: skip
    """Write one tile: weights of given scores, or values times what is given where the alphabet is `none`."""
    start = tl.program_id(0).to(tl.int64) * TILE
    place = tl.arange(0, TILE)
    inside = place < tl.minimum(numel - start, TILE).to(tl.int32)
    read = tl.load(given + start + place, mask=inside, other=0.0)
    value = _values(seed.to(tl.int64), stream.to(tl.int64), start, normal_table, SOURCE, TILE) * scale
    if ALPHABET == "none":
        result = value * read
    else:
        bits = read.to(tl.int32, bitcast=True)
        if ALPHABET == "sign":
            flip = ((bits - 1) | bits) & -0x80000000  # as an integer, at most 0 exactly where the score is
        else:
            flip = bits & -0x80000000
        if ALPHABET == "keep":
            result = tl.where(read <= 0.0, 0.0, value)
        else:
            result = (value.to(tl.int32, bitcast=True) ^ flip).to(tl.float32, bitcast=True)
        if ALPHABET == "ternary":
            result = tl.where((read >= -margin) & (read <= margin), 0.0, result)
    tl.store(out + start + place, result, mask=inside)


@triton.jit
def _values(seed, stream, start, normal_table, SOURCE: tl.constexpr, TILE: tl.constexpr):
    if SOURCE == "uniform":
        value = uniform_values(seed, stream, start, TILE)
    elif SOURCE == "normal":
        value = normal_values(seed, stream, start, normal_table, TILE)
    else:
        signs = signed_bytes(seed, stream, start, TILE // 8)
        negative = (signs[:, None] >> tl.arange(0, 8)[None, :]) & 1
        value = tl.reshape(((negative << 31) | 0x3F800000).to(tl.float32, bitcast=True), (TILE,))
    return value


def _table(device: torch.device) -> torch.Tensor:
    if device not in _TABLES:
        _TABLES[device] = torch.from_numpy(NORMAL_TABLE.astype(np.float32) * np.float32(2.0**-NORMAL_SHIFT)).to(device)
    return _TABLES[device]


_TABLES: dict[torch.device, torch.Tensor] = {}
