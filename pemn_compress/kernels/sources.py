"""Where the kernel finds the base values of a tensor: generated in place, or read from a small table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pemn_formats.bits import pack
from pemn_formats.content import Content, MaskedSpec
from pemn_formats.reconstruct import prototype_values

__all__ = ["SIGNED_SOURCES", "TILES", "Source", "source_of", "table_of"]

# Weights that a program writes: what four warps hold in registers. Of "signed", each thread draws one block.
TILES = {"signed": 16384, "bits": 8192, "uniform": 4096, "normal": 4096, "plain": 4096, "tiled": 4096, "shuffled": 1024}
SIGNED_SOURCES = ("signed", "bits")

_ROW = 8


@dataclass(frozen=True)
class Source:
    """How base values come about; equal sources share a table.

    kind: "signed", "uniform" and "normal" are generated in the kernel. "bits": the packed signs of a seeded vector that
    repeats. "plain", "tiled" and "shuffled": float32 values as they are, repeated, or through a permutation.
    """

    kind: str
    prototype: int
    count: int


def source_of(content: Content, tensor: MaskedSpec) -> Source:
    """Return the source of a tensor's base values."""
    prototype = content.prototypes[tensor.prototype]
    repeats = tensor.numel > prototype.length
    if tensor.span:
        return Source("shuffled", tensor.prototype, prototype.length)
    if prototype.source == "signed" and repeats:
        return Source("bits", tensor.prototype, prototype.length)
    if prototype.seeded and not repeats:
        return Source(prototype.source, tensor.prototype, 0)
    if repeats:
        return Source("tiled", tensor.prototype, prototype.length)
    return Source("plain", tensor.prototype, prototype.length)


def table_of(content: Content, source: Source) -> npt.NDArray[Any] | None:
    """Return the values that the kernel reads, or None where it generates them.

    A vector that repeats is stored for one length and as much more as is read from one starting point: a row of
    float32 values, or a tile of signs.
    """
    if not source.count:
        return None
    values = prototype_values(content.prototypes[source.prototype], content.seed, source.prototype, 0, source.count)
    if source.kind == "bits":
        return pack(np.resize(values < 0, source.count + TILES["bits"] + 2 * _ROW))
    return np.resize(values, source.count + _ROW) if source.kind == "tiled" else values
