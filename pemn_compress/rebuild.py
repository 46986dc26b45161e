"""From a file's content to dense weights on any device: masks travel packed and are unpacked there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch

from pemn_compress.generator import expand, seeded_values
from pemn_compress.kernels import usable
from pemn_compress.kernels.room import takes_stores
from pemn_compress.line import broadcast_scale, select
from pemn_formats.content import Content, MaskedSpec, MaskedTensor
from pemn_formats.errors import PemnError
from pemn_formats.fills import PERMUTATION_STREAM
from pemn_formats.reconstruct import prototype_values, scale_of

__all__ = [
    "base",
    "check_dtype",
    "codes",
    "reconstruct",
    "reconstruct_into",
    "reconstruct_many",
    "unpack_bits",
    "with_torch",
]

_Target: TypeAlias = tuple[MaskedTensor, torch.Tensor]

_AT_ONCE = 1 << 24  # weights in memory of their own
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
    *,
    places: Sequence[torch.Tensor] | None = None,
    tables: dict[Any, torch.Tensor] | None = None,
) -> list[torch.Tensor]:
    """Return the dense weights of masked tensors; as `reconstruct`, in one launch where kernels serve the device.

    They are new, or the `places` for them, made by `kernels.room.with_room`. `tables` keeps on the device what the next
    call for the same content needs too.
    """
    check_dtype(dtype)
    taken = _of_kernels(content, tensors, device)
    done: Iterator[torch.Tensor] = iter(())
    if taken:
        from pemn_compress.kernels import reconstruct as kernels

        order = sorted(taken)
        chosen = None if places is None else [places[at] for at in order]
        done = iter(kernels.reconstruct_many(content, [tensors[at] for at in order], device, dtype, chosen, tables))
    out = []
    for at, tensor in enumerate(tensors):
        weight = next(done) if at in taken else with_torch(content, tensor, device, dtype)
        if places is not None and weight is not places[at]:
            weight = places[at].copy_(weight)
        out.append(weight)
    return out


def reconstruct_into(
    content: Content, targets: Sequence[tuple[MaskedTensor, torch.Tensor]], dtype: torch.dtype = torch.float32
) -> None:
    """Write the dense weights of masked tensors, rounded to `dtype`, over tensors of one device that have their shapes.

    In one launch, where kernels serve the device and can write where a tensor lies. The others are rebuilt in memory
    of their own first, several at a time.
    """
    if not targets:
        return
    device = targets[0][1].device
    direct = _of_kernels(content, [tensor for tensor, _ in targets], device)
    if direct:
        from pemn_compress.kernels import reconstruct as kernels

        direct = {at for at in direct if takes_stores(targets[at][1], dtype)}
        tensors, places = [targets[at][0] for at in sorted(direct)], [targets[at][1] for at in sorted(direct)]
        kernels.reconstruct_many(content, tensors, device, dtype, places)
    for group in _groups([target for at, target in enumerate(targets) if at not in direct]):
        weights = reconstruct_many(content, [tensor for tensor, _ in group], device, dtype)
        for (_, place), weight in zip(group, weights, strict=True):
            place.copy_(weight)


def with_torch(content: Content, tensor: MaskedTensor, device: torch.device | str, dtype: torch.dtype) -> torch.Tensor:
    """Return the dense weights of a masked tensor with torch alone, which serves every device."""
    scale = _travel(scale_of(content, tensor).reshape(-1), device)
    value = base(content, tensor, device).reshape(tensor.shape)
    value *= broadcast_scale(scale, value.dim())
    return select(codes(tensor, device).reshape(tensor.shape), value, tensor.alphabet).to(dtype)


def _of_kernels(content: Content, tensors: Sequence[MaskedTensor], device: torch.device | str) -> set[int]:
    """Return the numbers of the tensors that kernels rebuild on a device."""
    if not usable(device):
        return set()
    from pemn_compress.kernels import reconstruct as kernels

    return {at for at, tensor in enumerate(tensors) if kernels.supports(content, tensor)}


def _groups(targets: Iterable[_Target]) -> Iterator[list[_Target]]:
    """Part targets so that the weights of a group are few, or those of one tensor."""
    group: list[_Target] = []
    count = 0
    for target in targets:
        count += target[0].numel
        if group and count > _AT_ONCE:
            yield group
            group, count = [], target[0].numel
        group.append(target)
    if group:
        yield group


def _travel(values: npt.NDArray[np.generic], device: torch.device | str) -> torch.Tensor:
    # Decoded arrays may be read-only views of the file, which torch warns about; a copy of a packed mask is small.
    source = values if values.flags.writeable else values.copy()
    return torch.from_numpy(np.ascontiguousarray(source)).to(device)
