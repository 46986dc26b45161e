"""From a file's content to dense weights on any device: masks travel packed and are unpacked there."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from pemn_compress.generator import expand, seeded_values
from pemn_compress.kernels import usable
from pemn_compress.line import broadcast_scale, select
from pemn_formats.content import Content, MaskedSpec, MaskedTensor
from pemn_formats.errors import PemnError
from pemn_formats.fills import PERMUTATION_STREAM
from pemn_formats.reconstruct import prototype_values, scale_of

__all__ = ["base", "check_dtype", "codes", "reconstruct", "reconstruct_many", "unpack_bits", "with_torch"]

_DTYPES = (torch.float32, torch.float16, torch.bfloat16)


def check_dtype(dtype: torch.dtype) -> None:
    """Raise `PemnError` for a dtype that weights are not rebuilt in."""
    if dtype not in _DTYPES:
        raise PemnError(f"weights are rebuilt as {', '.join(map(str, _DTYPES))}, found {dtype}")


def unpack_bits(packed: torch.Tensor, count: int) -> torch.Tensor:
    """Return the first `count` bits of uint8 bytes, least significant first, as bool of shape (count,)."""
    shifts = torch.arange(8, dtype=torch.uint8, device=packed.device)
    return ((packed[:, None] >> shifts) & 1).reshape(-1)[:count].bool()


def base(content: Content, tensor: MaskedSpec, device: torch.device | str = "cpu") -> torch.Tensor:
    """Return the base of a masked tensor, before scale and mask: float32 of shape (numel,)."""
    prototype = content.prototypes[tensor.prototype]
    needed = prototype.length if tensor.span else min(prototype.length, tensor.numel)
    if prototype.seeded:
        values = seeded_values(prototype.source, content.seed, tensor.prototype, needed, device)
    else:
        values = _travel(prototype_values(prototype, content.seed, tensor.prototype, 0, needed), device)
    stream = PERMUTATION_STREAM + tensor.prototype
    return expand(values, tensor.span, content.seed, stream, tensor.numel)


def codes(tensor: MaskedTensor, device: torch.device | str = "cpu") -> torch.Tensor:
    """Return the codes as `select` takes them, of shape (numel,): bool, or int8 for `ternary`."""
    bits = unpack_bits(_travel(tensor.planes[0], device), tensor.numel)
    if tensor.alphabet != "ternary":
        return bits
    negative = unpack_bits(_travel(tensor.planes[1], device), tensor.kept or 0)
    signs = 1 - 2 * negative.to(torch.int8)
    return bits.to(torch.int8).masked_scatter_(bits, signs)


def reconstruct(
    content: Content,
    tensor: MaskedTensor,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> torch.Tensor:
    """Return the dense weights of a masked tensor in its shape: select(code, scale * base), rounded once to `dtype`.

    The same bytes as `pemn_formats.reconstruct.reconstruct`. Raises `PemnError` for a dtype other than float32, float16
    and bfloat16.
    """
    return reconstruct_many(content, [tensor], device, dtype)[0]


def reconstruct_many(
    content: Content,
    tensors: Sequence[MaskedTensor],
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> list[torch.Tensor]:
    """Return the dense weights of masked tensors; as `reconstruct`, in one launch where kernels serve the device."""
    check_dtype(dtype)
    if not usable(device):
        return [with_torch(content, tensor, device, dtype) for tensor in tensors]
    from pemn_compress.kernels import reconstruct as kernels

    taken = [tensor for tensor in tensors if kernels.supports(content, tensor)]
    done = iter(kernels.reconstruct_many(content, taken, device, dtype))
    left = {id(tensor) for tensor in tensors} - {id(tensor) for tensor in taken}
    return [with_torch(content, tensor, device, dtype) if id(tensor) in left else next(done) for tensor in tensors]


def with_torch(content: Content, tensor: MaskedTensor, device: torch.device | str, dtype: torch.dtype) -> torch.Tensor:
    """Return the dense weights of a masked tensor with torch alone, which serves every device."""
    scale = _travel(scale_of(content, tensor).reshape(-1), device)
    value = base(content, tensor, device).reshape(tensor.shape)
    value *= broadcast_scale(scale, value.dim())
    return select(codes(tensor, device).reshape(tensor.shape), value, tensor.alphabet).to(dtype)


def _travel(values: npt.NDArray[np.generic], device: torch.device | str) -> torch.Tensor:
    # Decoded arrays may be read-only views of the file, which torch warns about; a copy of a packed mask is small.
    source = values if values.flags.writeable else values.copy()
    return torch.from_numpy(np.ascontiguousarray(source)).to(device)
