"""The operators of packed weights, known to torch.compile: a product, and the dense weight itself."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from pemn_compress.kernels import usable
from pemn_compress.packed_expand import Parts, expanded, in_parts

__all__ = ["packed_linear", "packed_weight"]

_PART = 1 << 20  # weights of a large matrix that are dense at a time on the CPU
_WORD = 32


# Schemas are written out: not every torch that serves can read them off annotations that are strings.
_FORM = "Tensor? keep, Tensor? flip, Tensor? values, Tensor scale"
_SOURCE = "str source, SymInt seed, SymInt stream, SymInt length, SymInt span"


@torch.library.custom_op(
    "pemn::packed_linear",
    mutates_args=(),
    schema=f"(Tensor inputs, {_FORM}, Tensor? bias, SymInt outputs, {_SOURCE}) -> Tensor",
)
def packed_linear(
    inputs: torch.Tensor,
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
    span: int,
) -> torch.Tensor:
    """Return inputs @ weight.T + bias for a weight in the form of `PackedWeight`, in the inputs' dtype.

    (..., in) becomes (..., outputs). `seed` is the unsigned one in two's complement. On CUDA a kernel multiplies where
    it can, adding in float32; elsewhere the weight is expanded for the product and freed, on the CPU a part at a time.
    """
    if usable(inputs.device):
        from pemn_compress.kernels import packed

        rows = inputs.reshape(-1, inputs.shape[-1])
        if packed.supports(rows, source, length):
            out = packed.multiply(rows, keep, flip, values, scale, bias, outputs, source, seed, stream, length)
            return out.reshape(*inputs.shape[:-1], outputs)
    shape, dtype = (outputs, inputs.shape[-1]), inputs.dtype
    bias = None if bias is None else bias.to(dtype)
    if in_parts(inputs.device, dtype) and outputs * inputs.shape[-1] > _PART:
        with Parts(keep, flip, values, scale, shape, source, seed, stream, length, span, dtype) as parts:
            return _by_parts(inputs, parts, bias, shape)
    weight = expanded(keep, flip, values, scale, shape, source, seed, stream, length, span, dtype)
    return torch.nn.functional.linear(inputs, weight, bias).contiguous()


def _by_parts(inputs: torch.Tensor, parts: Parts, bias: torch.Tensor | None, shape: tuple[int, int]) -> torch.Tensor:
    """Return the product with a weight of which only a part is dense at a time, still in the cache when it is read."""
    outputs, columns = shape
    step = max(_WORD, _PART // columns // _WORD * _WORD)
    rows = inputs.reshape(-1, columns)
    out = inputs.new_empty(rows.shape[0], outputs)
    held = inputs.new_empty(min(step, outputs) * columns)
    for first in range(0, outputs, step):
        count = min(step, outputs - first)
        weight = held[: count * columns]
        parts.write(weight, first * columns)
        added = None if bias is None else bias[first : first + count]
        out[:, first : first + count] = torch.nn.functional.linear(rows, weight.view(count, columns), added)
    return out.view(*inputs.shape[:-1], outputs)


@packed_linear.register_fake
def _(
    inputs: torch.Tensor,
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
    span: int,
) -> torch.Tensor:
    return inputs.new_empty(*inputs.shape[:-1], outputs)


@torch.library.custom_op(
    "pemn::packed_weight",
    mutates_args=(),
    schema=f"({_FORM}, SymInt[] shape, {_SOURCE}, ScalarType dtype) -> Tensor",
)
def packed_weight(
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
    """Return the dense weight of a `PackedWeight` in `dtype`, expanded anew; arguments as `packed_linear`."""
    return expanded(keep, flip, values, scale, shape, source, seed, stream, length, span, dtype)


@packed_weight.register_fake
def _(
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
    return scale.new_empty(tuple(shape), dtype=dtype)
