"""Patches: what turns one content into another, as differences that are mostly zero."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from pemn_formats.bits import pack, popcount, unpack
from pemn_formats.codecs.zstd import compress
from pemn_formats.content import Content, Delta, MaskedTensor, Prototype, ResidualTensor
from pemn_formats.differences import difference, from_difference
from pemn_formats.entries import stored_values
from pemn_formats.errors import FormatError, PemnError
from pemn_formats.ledger import entropy_bits
from pemn_formats.names import shown
from pemn_formats.writer import content_id

__all__ = ["apply_delta", "make_delta"]

Planes = tuple[npt.NDArray[np.uint8], ...]


def make_delta(old: Content, new: Content) -> Content:
    """Return the patch that makes `new` of `old`: a content with the settings of `new` and differences for values.

    An entry of `old` and `new` alike in name, shape and type is written as a difference where that is smaller. Masks
    differ by XOR; where both contents keep a ternary weight its sign differs by XOR too. Raises `PemnError` where one
    of the two is a patch itself.
    """
    for content, which in ((old, "old"), (new, "new")):
        if content.delta is not None:
            raise PemnError(f"the {which} file is itself a delta, of content {content.delta.base}; apply that first")
    prototypes = [_patched_prototype(new, index, old) for index in range(len(new.prototypes))]
    old_masked, old_residual = _by_name(old)
    masked = [_patched_masked(each, old_masked.get(each.name)) for each in new.masked]
    residual = [_patched_residual(each, old_residual.get((each.kind, each.name))) for each in new.residual]
    return replace(
        new,
        prototypes=tuple(entry for entry, _ in prototypes),
        masked=tuple(entry for entry, _ in masked),
        residual=tuple(entry for entry, _ in residual),
        delta=Delta(
            base=content_id(old),
            result=content_id(new),
            prototypes=tuple(flag for _, flag in prototypes),
            masked=tuple(flag for _, flag in masked),
            residual=tuple(flag for _, flag in residual),
        ),
    )


def apply_delta(old: Content, patch: Content) -> Content:
    """Return the content that a patch makes of its base, its content id checked.

    Raises `PemnError` where `patch` is none or made for another base (both ids are named), `FormatError` where it
    does not give what it promises.
    """
    delta = patch.delta
    if delta is None:
        raise PemnError("the file to apply is no delta; make one with pemn-compress delta")
    if old.delta is not None:
        raise PemnError(f"the base is itself a delta, of content {old.delta.base}; apply that first")
    base = content_id(old)
    if base != delta.base:
        raise PemnError(f"the delta is made for the base {delta.base}, this one is {base}")
    old_masked, old_residual = _by_name(old)
    new = replace(
        patch,
        prototypes=tuple(
            _prototype(each, old.prototypes[index : index + 1], f"prototype {index}") if flag else each
            for index, (each, flag) in enumerate(zip(patch.prototypes, delta.prototypes, strict=True))
        ),
        masked=tuple(
            _masked(each, old_masked.get(each.name)) if flag else each
            for each, flag in zip(patch.masked, delta.masked, strict=True)
        ),
        residual=tuple(
            _residual(each, old_residual.get((each.kind, each.name))) if flag else each
            for each, flag in zip(patch.residual, delta.residual, strict=True)
        ),
        delta=None,
    )
    try:
        result = content_id(new)
    except PemnError as error:
        raise FormatError(f"the delta does not give a sound file: {error}") from None
    if result != delta.result:
        raise FormatError(f"the delta gives content {result}, but promises {delta.result}")
    return new


def _by_name(content: Content) -> tuple[dict[str, MaskedTensor], dict[tuple[str, str], ResidualTensor]]:
    return (
        {each.name: each for each in content.masked},
        {(each.kind, each.name): each for each in content.residual},
    )


def _patched_prototype(new: Content, index: int, old: Content) -> tuple[Prototype, bool]:
    entry = new.prototypes[index]
    if entry.values is None or index >= len(old.prototypes) or not _alike(entry, old.prototypes[index]):
        return entry, False
    return _smaller(entry, old.prototypes[index], entry.source)


def _patched_masked(new: MaskedTensor, old: MaskedTensor | None) -> tuple[MaskedTensor, bool]:
    if old is None or not _alike_masked(new, old):
        return new, False
    changed = _xored(new.planes, old, new.planes[0], new)
    return (replace(new, planes=changed), True) if _bits(new, changed) <= _bits(new, new.planes) else (new, False)


def _patched_residual(new: ResidualTensor, old: ResidualTensor | None) -> tuple[ResidualTensor, bool]:
    if old is None or not _alike(new, old) or new.dtype == "bool":
        return new, False
    return _smaller(new, old, new.held_dtype)


Valued = TypeVar("Valued", Prototype, ResidualTensor)


def _smaller(new: Valued, old: Valued, dtype: str) -> tuple[Valued, bool]:
    raw, before = _raw(new), _raw(old)
    changed = difference(before, raw, dtype)
    if len(compress(changed)) > len(compress(raw)):
        return new, False
    return _with_raw(new, changed, dtype), True


def _prototype(patch: Prototype, base: Sequence[Prototype], what: str) -> Prototype:
    if not base or not _alike(patch, base[0]):
        raise FormatError(f"the delta changes {what}, which its base does not hold like that")
    return _with_raw(patch, from_difference(_raw(base[0]), _raw(patch), patch.source), patch.source)


def _residual(patch: ResidualTensor, base: ResidualTensor | None) -> ResidualTensor:
    if base is None or not _alike(patch, base) or patch.dtype == "bool":
        raise FormatError(f"the delta changes {shown(patch.name)}, which its base does not hold like that")
    return _with_raw(patch, from_difference(_raw(base), _raw(patch), patch.held_dtype), patch.held_dtype)


def _masked(patch: MaskedTensor, base: MaskedTensor | None) -> MaskedTensor:
    if base is None or not _alike_masked(patch, base):
        raise FormatError(f"the delta changes {shown(patch.name)}, which its base does not hold like that")
    first = patch.planes[0] ^ base.planes[0]
    if patch.kept is not None and popcount(first) != patch.kept:
        raise FormatError(f"the delta leaves {popcount(first)} weights of {shown(patch.name)}, not {patch.kept}")
    return replace(patch, planes=_xored(patch.planes, base, first, patch))


def _xored(planes: Planes, base: MaskedTensor, nonzero: npt.NDArray[np.uint8], tensor: MaskedTensor) -> Planes:
    """The planes XOR those of the base. `nonzero` is the first plane of the newer tensor.

    A sign plane has one bit for each nonzero weight; the base's sign is sought at that weight, and is 0 where the
    base is zero.
    """
    first = planes[0] ^ base.planes[0]
    if tensor.kept is None:
        return (first,)
    signs = np.zeros(tensor.numel, dtype=np.uint8)
    signs[unpack(base.planes[0], base.numel) == 1] = unpack(base.planes[1], base.kept or 0)
    return first, planes[1] ^ pack(signs[unpack(nonzero, tensor.numel) == 1])


def _bits(tensor: MaskedTensor, planes: Planes) -> float:
    return sum(entropy_bits(n, popcount(plane)) for n, plane in zip(tensor.plane_bits, planes, strict=True))


def _alike_masked(left: MaskedTensor, right: MaskedTensor) -> bool:
    return left.shape == right.shape and left.alphabet == right.alphabet


def _alike(left: Valued, right: Valued) -> bool:
    return _type(left) == _type(right)


def _type(entry: Prototype | ResidualTensor) -> tuple[object, str]:
    return (entry.length, entry.source) if isinstance(entry, Prototype) else (entry.shape, entry.dtype)


def _raw(entry: Valued) -> bytes:
    return b"" if entry.values is None else entry.values.tobytes()


def _with_raw(entry: Valued, raw: bytes, dtype: str) -> Valued:
    values = stored_values(raw, dtype, "")
    return replace(entry, values=values if entry.values is None else values.reshape(entry.values.shape))
