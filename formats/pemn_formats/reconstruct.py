"""From seed, prototype and mask bits to dense weights, in numpy: the reference that every other device must equal."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from pemn_formats import log8
from pemn_formats.bits import unpack
from pemn_formats.bundle import select_task
from pemn_formats.content import LOG8, Content, MaskedSpec, MaskedTensor, Prototype, ResidualTensor
from pemn_formats.errors import PemnError
from pemn_formats.fills import PERMUTATION_STREAM, permuted
from pemn_formats.rounding import bfloat16_to_float32, narrow
from pemn_formats.values import unit_values

__all__ = [
    "base",
    "channel_scales",
    "codes",
    "float_values",
    "prototype_values",
    "reconstruct",
    "residual_state",
    "scale_of",
    "state",
    "unfold_bn",
]


def prototype_values(prototype: Prototype, seed: int, stream: int, start: int, count: int) -> npt.NDArray[np.float32]:
    """Return values `start` to `start + count` of a prototype, float32 of shape (count,)."""
    if prototype.seeded:
        return unit_values(prototype.source, seed, stream, start, count)
    if prototype.values is None:
        raise PemnError(f"prototype {stream} holds explicit {prototype.source} values, but none were given")
    return prototype.values[start : start + count].astype(np.float32)


def base(content: Content, tensor: MaskedSpec) -> npt.NDArray[np.float32]:
    """Return the base of a masked tensor, before scale and mask: float32 of shape (numel,)."""
    prototype, stream = content.prototypes[tensor.prototype], tensor.prototype
    if tensor.span:
        values = prototype_values(prototype, content.seed, stream, 0, prototype.length)
        return permuted(values, tensor.span, content.seed, PERMUTATION_STREAM + stream, 0, tensor.numel)
    if tensor.numel <= prototype.length:
        return prototype_values(prototype, content.seed, stream, 0, tensor.numel)
    return np.resize(prototype_values(prototype, content.seed, stream, 0, prototype.length), tensor.numel)


def scale_of(content: Content, tensor: MaskedSpec) -> npt.NDArray[np.float32]:
    """Return the scale, float32 of shape (1, 1), or (channels, 1) for one scale per output channel."""
    if tensor.scale is not None:
        return np.full((1, 1), tensor.scale, dtype=np.float32)
    return channel_scales(content, tensor.name)


def channel_scales(content: Content, name: str) -> npt.NDArray[np.float32]:
    """Return the stored scales of a masked tensor or int8 entry, float32 of shape (channels, 1)."""
    for entry in content.residual:
        if entry.kind == "scale" and entry.name == name:
            return float_values(entry).reshape(-1, 1)
    raise PemnError(f"{name} has channel scales, but none are stored")


def codes(tensor: MaskedTensor) -> npt.NDArray[np.int8]:
    """Return the code of every weight, int8 of shape (numel,): 0 or 1, for ternary -1, 0 or 1."""
    code = unpack(tensor.planes[0], tensor.numel).view(np.int8)
    if tensor.alphabet == "ternary":
        code[code == 1] = 1 - 2 * unpack(tensor.planes[1], tensor.kept or 0).view(np.int8)
    return code


def reconstruct(content: Content, tensor: MaskedTensor, dtype: str = "float32") -> npt.NDArray[Any]:
    """Return the dense weights of a masked tensor in its shape: select(code, scale * base), rounded to `dtype`.

    bfloat16 comes as its bits in uint16. Raises `PemnError` for an unknown dtype.
    """
    channels = tensor.shape[0]
    with np.errstate(over="ignore"):
        value = (base(content, tensor).reshape(channels, -1) * scale_of(content, tensor)).reshape(-1)
    code = codes(tensor)
    # Negation is a select of its own: a product with the code would turn zeros into negative zeros.
    if tensor.alphabet == "keep":
        weight = np.where(code == 1, value, np.float32(0.0))
    elif tensor.alphabet == "sign":
        weight = np.where(code == 1, value, -value)
    else:
        weight = np.where(code == 0, np.float32(0.0), np.where(code == 1, value, -value))
    return narrow(weight, dtype).reshape(tensor.shape)


def float_values(entry: ResidualTensor) -> npt.NDArray[np.float32]:
    """Return the values of a floating residual entry as float32, in the entry's shape."""
    if entry.dtype == LOG8:
        return log8.decode(entry.values, entry.vectors).reshape(entry.shape)
    if entry.dtype == "bfloat16":
        return bfloat16_to_float32(entry.values).reshape(entry.shape)
    return entry.values.astype(np.float32).reshape(entry.shape)


def unfold_bn(entry: ResidualTensor) -> tuple[npt.NDArray[Any], ...]:
    """Return the state of the BatchNorm that is exactly the stored affine map, in the order of `BN_SUFFIXES`.

    Mean 0 and variance 1 - eps: variance plus eps is then 1 in float32, so the layer multiplies by its weight, adds
    its bias and does nothing else.
    """
    scale, shift = float_values(entry)
    variance = np.float32(1.0) - (entry.eps if entry.eps is not None else np.float32(0.0))
    return scale, shift, np.zeros_like(scale), np.full_like(scale, variance), np.zeros((), dtype=np.int64)


def residual_state(content: Content) -> dict[str, npt.NDArray[Any]]:
    """Return the state-dict entries that are not masked: floats of up to 32 bits as float32, others as they are.

    An int8 entry is float32(value) * scale of its channel: one float32 multiplication.
    """
    out: dict[str, npt.NDArray[Any]] = {}
    for entry in content.residual:
        if entry.kind == "bn":
            out.update(zip(entry.state_names, unfold_bn(entry), strict=True))
        elif entry.kind == "int8":
            rows = entry.values.astype(np.float32).reshape(entry.shape[0], -1)
            with np.errstate(over="ignore"):
                out[entry.name] = (rows * channel_scales(content, entry.name)).reshape(entry.shape)
        elif entry.kind == "dense":
            floating = entry.dtype in ("float32", "float16", "bfloat16", LOG8)
            out[entry.name] = float_values(entry) if floating else entry.values.reshape(entry.shape)
    return out


def state(content: Content, dtype: str = "float32") -> dict[str, npt.NDArray[Any]]:
    """Return every state-dict entry: masked weights rebuilt in `dtype`, and the residual. Tied names share an array.

    Raises `PemnError` for a bundle, of which a task has to be chosen first, and for a patch.
    """
    content = select_task(content)
    out = {tensor.name: reconstruct(content, tensor, dtype) for tensor in content.masked} | residual_state(content)
    for alias, target in content.aliases.items():
        out[alias] = out[target]
    return out
