"""The decoded content of a `.pemn` file, as plain data."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from pemn_formats import log8
from pemn_formats.values import DISTRIBUTIONS

__all__ = [
    "ALPHABETS",
    "BN_SUFFIXES",
    "DTYPES",
    "EXPLICIT_SOURCES",
    "LOG8",
    "RESIDUAL_KINDS",
    "Content",
    "Delta",
    "MaskedSpec",
    "MaskedTensor",
    "Prototype",
    "ResidualSpec",
    "ResidualTensor",
    "Task",
]

ALPHABETS = ("keep", "sign", "ternary")
RESIDUAL_KINDS = ("dense", "bn", "int8", "scale")
EXPLICIT_SOURCES = ("float32", "float16")

# How the values of each stored dtype are held in numpy. bfloat16 has no numpy type: its 16 bits are held as uint16.
DTYPES: Mapping[str, np.dtype[Any]] = {
    "float64": np.dtype("<f8"),
    "float32": np.dtype("<f4"),
    "float16": np.dtype("<f2"),
    "bfloat16": np.dtype("<u2"),
    "int64": np.dtype("<i8"),
    "int32": np.dtype("<i4"),
    "int16": np.dtype("<i2"),
    "int8": np.dtype("i1"),
    "uint8": np.dtype("u1"),
    "bool": np.dtype("?"),
}

# A residual entry of this dtype is held as the bytes of `pemn_formats.log8`.
LOG8 = "log8"

# The state-dict entries that one folded BatchNorm stands for.
BN_SUFFIXES = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


@dataclass(frozen=True)
class Prototype:
    """A vector of values that tensors are filled from: seeded (no `values`) or explicit.

    `source` is a distribution, or the dtype of explicit `values` of shape (length,). A seeded prototype is the stream
    with its own index in `Content.prototypes`.
    """

    length: int
    source: str
    values: npt.NDArray[Any] | None = None

    @property
    def seeded(self) -> bool:
        """Whether the values come from the seed."""
        return self.source in DISTRIBUTIONS

    @property
    def stored_bytes(self) -> int:
        """Bytes of its values before compression: none for a seeded one."""
        return 0 if self.seeded else self.length * DTYPES[self.source].itemsize


@dataclass(frozen=True)
class MaskedSpec:
    """What the manifest says of one masked tensor.

    `scale` None means one scale per output channel (dimension 0), stored in the residual. `kept` is the number of
    weights that are not zero, for the ternary alphabet alone.
    """

    name: str
    shape: tuple[int, ...]
    prototype: int
    span: int
    alphabet: str
    scale: np.float32 | None
    kept: int | None = None

    @property
    def numel(self) -> int:
        """Number of weights."""
        return math.prod(self.shape)

    @property
    def plane_bits(self) -> tuple[int, ...]:
        """Number of bits of each bit plane of the mask."""
        return (self.numel,) if self.kept is None else (self.numel, self.kept)

    @property
    def mask_bytes(self) -> int:
        """Bytes of the packed planes, each padded to whole bytes."""
        return sum((bits + 7) // 8 for bits in self.plane_bits)


@dataclass(frozen=True)
class MaskedTensor(MaskedSpec):
    """A masked tensor with its packed bit planes (uint8, least significant bit first, pad bits zero).

    `keep` and `sign` have one plane. `ternary` has two: which weights are not zero, then one bit for each of those in
    order, set where the weight is the negative of the value.
    """

    planes: tuple[npt.NDArray[np.uint8], ...] = ()


@dataclass(frozen=True)
class ResidualSpec:
    """What the manifest says of one residual entry.

    `dense` is a state-dict entry as it stands. `bn` is a BatchNorm at module path `name` folded to an affine map: two
    rows (scale, shift) of shape[1] channels, and the layer's `eps`. `int8` is a state-dict entry whose float32 values
    are the stored ones times a scale per output channel (dimension 0). `scale` holds the channel scales of the masked
    tensor or int8 entry of the same name.
    """

    name: str
    shape: tuple[int, ...]
    kind: str
    dtype: str
    eps: np.float32 | None = None

    @property
    def numel(self) -> int:
        """Number of values."""
        return math.prod(self.shape)

    @property
    def vectors(self) -> int:
        """Into how many vectors with a range of their own `log8` cuts it: the rows of a folded BatchNorm, else one."""
        return 2 if self.kind == "bn" else 1

    @property
    def held_dtype(self) -> str:
        """The key of `DTYPES` that its values are held in: its dtype, but uint8 for `log8`."""
        return "uint8" if self.dtype == LOG8 else self.dtype

    @property
    def held_shape(self) -> tuple[int, ...]:
        """The shape that its values are held in: its own, but for `log8` that of the stored bytes."""
        return (log8.stored_bytes(self.vectors, self.numel),) if self.dtype == LOG8 else self.shape

    @property
    def stored_bytes(self) -> int:
        """Bytes of its values before compression."""
        return math.prod(self.held_shape) * DTYPES[self.held_dtype].itemsize

    @property
    def state_names(self) -> tuple[str, ...]:
        """The state-dict names that this entry gives a value to."""
        if self.kind == "bn":
            return tuple(f"{self.name}.{suffix}" if self.name else suffix for suffix in BN_SUFFIXES)
        return () if self.kind == "scale" else (self.name,)


@dataclass(frozen=True)
class ResidualTensor(ResidualSpec):
    """A residual entry with its values as they are held: `DTYPES[held_dtype]` of shape `held_shape`."""

    values: npt.NDArray[Any] = field(default_factory=lambda: np.empty(0, np.float32))


@dataclass(frozen=True)
class Task:
    """What a bundle says of one of its models besides the tensors; fields as in `Content`."""

    architecture: Mapping[str, Any] | None = None
    input: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Delta:
    """What makes a content a patch: everything it says is its result's, except for the values that are differences.

    `base` and `result` are content ids. The flags say, for each prototype, masked tensor and residual entry in their
    order, whether its values are the difference from those of the base (True) or stand for themselves.
    """

    base: str
    result: str
    prototypes: tuple[bool, ...]
    masked: tuple[bool, ...]
    residual: tuple[bool, ...]


@dataclass(frozen=True)
class Content:
    """Everything that a `.pemn` file says, decoded.

    `architecture` is a registered name with its arguments, `input` how images become tensors, `aliases` maps tied
    state-dict names to the stored one, `extra` is the object that readers ignore and writers preserve.

    A bundle has `tasks`, by name: it holds several models over the same prototypes, each name of a masked tensor,
    residual entry or alias is "task:name", and `architecture` and `input` stand with the tasks. A patch has `delta`.
    """

    seed: int
    prototypes: tuple[Prototype, ...]
    masked: tuple[MaskedTensor, ...]
    residual: tuple[ResidualTensor, ...] = ()
    architecture: Mapping[str, Any] | None = None
    input: Mapping[str, Any] | None = None
    aliases: Mapping[str, str] = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict)
    tasks: Mapping[str, Task] = field(default_factory=dict)
    delta: Delta | None = None
