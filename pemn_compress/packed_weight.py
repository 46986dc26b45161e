"""From a masked tensor of a file to what a packed layer keeps of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from pemn_compress.kernels.launch import as_signed
from pemn_formats.bits import pack
from pemn_formats.content import Content, MaskedTensor
from pemn_formats.reconstruct import base, codes, prototype_values, scale_of

__all__ = ["PackedWeight", "pack_weight"]

_WORD = 32


@dataclass(frozen=True)
class PackedWeight:
    """A weight as select(keep, flip, scale * base), in bits.

    keep, flip: packed planes, or None for "all" and "none". source: where base comes from. "ones": it is 1, its signs
    being part of `flip`. "signed", "uniform", "normal": the generator. "bits": `values` holds the packed signs of a
    vector that repeats. "values": `values` holds the bits of its float32 values, read through the permutation of
    [0, span) if there is one. scale: the bits of one float32 or of one a channel, int32.
    """

    shape: tuple[int, ...]
    keep: torch.Tensor | None
    flip: torch.Tensor | None
    values: torch.Tensor | None
    scale: torch.Tensor
    source: str
    seed: int
    stream: int
    length: int
    span: int

    def shared(self, tables: dict[tuple[str, int], torch.Tensor]) -> PackedWeight:
        """Return the same weight with the table of values that weights of its prototype have there, if it needs one."""
        if self.values is None:
            return self
        return replace(self, values=tables.setdefault((self.source, self.stream), self.values))

    def to(self, device: torch.device | str) -> PackedWeight:
        """Return the same weight on a device."""
        names = ("keep", "flip", "values", "scale")
        moved = {name: held.to(device) for name in names if (held := getattr(self, name)) is not None}
        return replace(self, **moved)


def pack_weight(content: Content, tensor: MaskedTensor) -> PackedWeight:
    """Return what a packed layer keeps of a tensor: about one bit a weight, two for `ternary`.

    Where values are +1 and -1 and weights have a sign bit, the two signs become one bit here. Arrays are copies.
    """
    prototype = content.prototypes[tensor.prototype]
    used = prototype.length if tensor.span else tensor.numel
    values = None if prototype.seeded else prototype_values(prototype, content.seed, tensor.prototype, 0, used)
    signed = prototype.source == "signed" or (values is not None and bool((np.abs(values) == 1).all()))
    keep = None if tensor.alphabet == "sign" else tensor.planes[0]
    flip = None if tensor.alphabet == "keep" else pack(codes(tensor) <= (0 if tensor.alphabet == "sign" else -1))
    source, table = _source(content, tensor, signed)
    if flip is not None and signed:
        source, table = "ones", None
        flip = flip ^ pack(base(content, tensor) < 0)
    scale = scale_of(content, tensor).reshape(-1).view(np.int32)
    return PackedWeight(
        shape=tensor.shape,
        keep=_held(keep),
        flip=_held(flip),
        values=_held(table),
        scale=torch.from_numpy(scale.copy()),
        source=source,
        seed=as_signed(content.seed),
        stream=tensor.prototype,
        length=content.prototypes[tensor.prototype].length,
        span=tensor.span,
    )


def _source(content: Content, tensor: MaskedTensor, signed: bool) -> tuple[str, npt.NDArray[Any] | None]:
    """Return where values come from, and the table of the whole prototype if there is one, the same for all tensors."""
    prototype = content.prototypes[tensor.prototype]
    if prototype.seeded and not tensor.span and prototype.length >= tensor.numel:
        return prototype.source, None
    values = prototype_values(prototype, content.seed, tensor.prototype, 0, prototype.length)
    if signed and not tensor.span:
        # A word may begin at any bit, so the vector goes on for a word and more, and ends on whole words.
        whole = -(-(prototype.length + 2 * _WORD) // _WORD) * _WORD
        return "bits", pack(np.resize(values < 0, whole))
    return "values", values.astype(np.float32).view(np.int32)


def _held(array: npt.NDArray[Any] | None) -> torch.Tensor | None:
    return None if array is None else torch.from_numpy(np.array(array))
