"""The operator of packed layers, known to torch.compile: a kernel on CUDA, else one layer expanded at a time."""

from __future__ import annotations

import torch

from pemn_compress.generator import expand, seeded_values
from pemn_compress.kernels import usable
from pemn_compress.line import broadcast_scale, select
from pemn_compress.rebuild import unpack_bits
from pemn_formats.fills import PERMUTATION_STREAM

__all__ = ["dense_weight", "packed_linear"]


@torch.library.custom_op("pemn::packed_linear", mutates_args=())
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

    (..., in) becomes (..., outputs). `seed` is the unsigned one in two's complement. Products are added in float32.
    """
    rows = inputs.reshape(-1, inputs.shape[-1])
    if usable(inputs.device):
        from pemn_compress.kernels import packed

        if packed.supports(rows, source, length):
            out = packed.multiply(rows, keep, flip, values, scale, bias, outputs, source, seed, stream, length)
            return out.reshape(*inputs.shape[:-1], outputs)
    shape = (outputs, rows.shape[1])
    weight = dense_weight(keep, flip, values, scale, shape, source, seed, stream, length, span)
    out = torch.nn.functional.linear(rows, weight.to(rows.dtype), None if bias is None else bias.to(rows.dtype))
    return out.reshape(*inputs.shape[:-1], outputs)


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


def dense_weight(
    keep: torch.Tensor | None,
    flip: torch.Tensor | None,
    values: torch.Tensor | None,
    scale: torch.Tensor,
    shape: tuple[int, int],
    source: str,
    seed: int,
    stream: int,
    length: int,
    span: int,
) -> torch.Tensor:
    """Return the dense weight, float32 of shape (outputs, columns), with the bytes of `reconstruct`."""
    count = shape[0] * shape[1]
    device, unsigned = scale.device, seed & ((1 << 64) - 1)
    if source == "ones":
        base = torch.ones(count, device=device)
    elif source == "bits" and values is not None:
        signs = expand(unpack_bits(values, length), 0, 0, 0, count)
        base = 1.0 - 2.0 * signs.to(torch.float32)
    elif source == "values" and values is not None:
        base = expand(values.view(torch.float32), span, unsigned, PERMUTATION_STREAM + stream, count)
    else:
        base = seeded_values(source, unsigned, stream, count, device)
    weight = base.reshape(shape) * broadcast_scale(scale if scale.numel() > 1 else scale[0], 2)
    if flip is not None:
        weight = select(~unpack_bits(flip, count).reshape(shape), weight, "sign")
    if keep is not None:
        weight = select(unpack_bits(keep, count).reshape(shape), weight, "keep")
    return weight
