"""What a manifest holds, as data, and the checks of its smallest parts."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any

from second.text import refuse_unless

MAX_TENSORS = 65536
MAX_VALUES = 1 << 40
SEEDED = ("signed", "uniform", "normal")
WIDTHS = {"float64": 8, "float32": 4, "float16": 2, "bfloat16": 2, "int64": 8, "int32": 4, "int16": 2}
WIDTHS |= {"int8": 1, "uint8": 1, "bool": 1}
NARROW = ("float32", "float16", "bfloat16", "log8")
NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


@dataclass(frozen=True)
class Masked:
    name: str
    shape: tuple[int, ...]
    prototype: int
    span: int
    alphabet: str
    scale: int | None
    kept: int | None

    @property
    def numel(self) -> int:
        return math.prod(self.shape)

    @property
    def planes(self) -> list[int]:
        """Bits of each plane."""
        return [self.numel] if self.kept is None else [self.numel, self.kept]


@dataclass(frozen=True)
class Entry:
    name: str
    shape: tuple[int, ...]
    kind: str
    dtype: str
    eps: int | None

    @property
    def numel(self) -> int:
        return math.prod(self.shape)

    @property
    def vectors(self) -> int:
        """Ranges of a `log8` entry."""
        return 2 if self.kind == "bn" else 1

    @property
    def size(self) -> int:
        """Stored bytes."""
        return 5 * self.vectors + self.numel if self.dtype == "log8" else WIDTHS[self.dtype] * self.numel

    def states(self, bundled: bool = False) -> list[str]:
        """The state-dict names that the entry stands for."""
        if self.kind == "bn":
            bare = self.name == "" or (bundled and self.name.partition(":")[2] == "")
            return [f"{self.name}{'' if bare else '.'}{each}" for each in NORM]
        return [] if self.kind == "scale" else [self.name]


@dataclass(frozen=True)
class Manifest:
    json: dict[str, Any]
    prototypes: tuple[tuple[str, int], ...]
    masked: tuple[Masked, ...]
    residual: tuple[Entry, ...]

    @property
    def is_patch(self) -> bool:
        return "delta" in self.json

    def differs(self, part: str, index: int) -> bool:
        """Whether an entry of a patch is a difference."""
        return self.is_patch and bool(self.json["delta"][part][index])

    @property
    def tasks(self) -> dict[str, Any] | None:
        tasks: dict[str, Any] | None = self.json.get("tasks")
        return tasks

    def prototype_bytes(self) -> list[int]:
        return [0 if source in SEEDED else WIDTHS[source] * length for source, length in self.prototypes]

    def plane_bits(self) -> list[int]:
        return [bits for tensor in self.masked for bits in tensor.planes]

    def lengths(self) -> list[int]:
        """Bytes of the three streams."""
        masks = sum(-(-bits // 8) for bits in self.plane_bits())
        return [sum(self.prototype_bytes()), masks, sum(entry.size for entry in self.residual)]


def keys(value: Any, needed: set[str], optional: set[str] | None = None) -> None:
    refuse_unless(isinstance(value, dict), "something else than an object")
    refuse_unless(needed <= set(value) <= needed | (optional or set()), "unknown or missing keys")


def integer(value: Any, least: int, most: int) -> None:
    refuse_unless(type(value) is int and least <= value <= most, "no integer within its bounds")


def check_name(value: Any) -> None:
    refuse_unless(isinstance(value, str) and re.fullmatch(r"[ -~]{1,255}", value) is not None, "a bad name")
    refuse_unless(not any(bad in value for bad in ("/", "\\", "..")), "a bad name")
    refuse_unless(not value.startswith("pemn:"), "a reserved name")
