"""Where every byte of a file goes, and what the same network takes as a dense checkpoint."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from pemn_formats.content import LOG8
from pemn_formats.manifest import Manifest
from pemn_formats.prelude import CHUNK_ROW, PRELUDE_BYTES, Prelude

__all__ = ["Ledger", "entropy_bits", "ledger_of"]


@dataclass(frozen=True)
class Ledger:
    """The bytes of a file. `prelude + manifest + chunk_table + prototypes + masks + residual == file_bytes`, always.

    `residual_by_kind` are bytes before compression. `shannon_bytes` is the sum over bit planes of n H(density) / 8.
    `dense_float32` and `dense_float16` are the values alone of the same network stored densely, residual unfolded and
    int8 layers without their scales. `paper_*` count as the paper does: float prototype values and one bit a weight,
    against 32 bits a masked weight.
    """

    file_bytes: int
    prelude: int
    manifest: int
    chunk_table: int
    prototypes: int
    masks: int
    residual: int
    mask_weights: int
    mask_ones: int
    shannon_bytes: float
    residual_by_kind: dict[str, int]
    dense_float32: int
    dense_float16: int
    paper_bytes: int
    paper_dense: int

    @property
    def header(self) -> int:
        """Bytes of prelude, manifest and chunk table."""
        return self.prelude + self.manifest + self.chunk_table

    @property
    def bits_per_weight(self) -> float:
        """Stored mask bits per masked weight."""
        return 8 * self.masks / self.mask_weights if self.mask_weights else 0.0

    @property
    def over_shannon(self) -> float:
        """Stored mask bytes over the Shannon bound, minus one; 0 where the bound is zero."""
        return self.masks / self.shannon_bytes - 1 if self.shannon_bytes else 0.0

    @property
    def ratio_float32(self) -> float:
        """Dense float32 bytes over file bytes."""
        return self.dense_float32 / self.file_bytes

    @property
    def ratio_float16(self) -> float:
        """Dense float16 bytes over file bytes."""
        return self.dense_float16 / self.file_bytes

    @property
    def paper_ratio(self) -> float:
        """The paper's dense bytes over the paper's bytes; 0 where nothing is masked."""
        return self.paper_dense / self.paper_bytes if self.paper_bytes else 0.0

    def to_dict(self) -> dict[str, Any]:
        """Return every field and every derived figure, ready for JSON."""
        derived = ("header", "bits_per_weight", "over_shannon", "ratio_float32", "ratio_float16", "paper_ratio")
        return asdict(self) | {name: getattr(self, name) for name in derived}


def entropy_bits(count: int, ones: int) -> float:
    """Return count * H(ones / count) in bits: the least that independent bits of that density take."""
    if not 0 < ones < count:
        return 0.0
    zeros = count - ones
    return ones * math.log2(count / ones) + zeros * math.log2(count / zeros)


def ledger_of(prelude: Prelude, manifest: Manifest, ones: list[tuple[int, ...]]) -> Ledger:
    """Return the ledger of a file; `ones` counts the ones in each bit plane of each masked tensor."""
    planes = [
        (bits, plane_ones)
        for tensor, tensor_ones in zip(manifest.masked, ones, strict=True)
        for bits, plane_ones in zip(tensor.plane_bits, tensor_ones, strict=True)
    ]
    weights = sum(tensor.numel for tensor in manifest.masked)
    by_kind: dict[str, int] = {}
    floats = integers = 0
    in_int8 = {entry.name for entry in manifest.residual if entry.kind == "int8"}
    for entry in manifest.residual:
        kind = _kind(entry.kind, entry.name, in_int8)
        by_kind[kind] = by_kind.get(kind, 0) + entry.stored_bytes
        if entry.kind == "bn":
            floats += 2 * entry.numel  # weight, bias, mean and variance instead of scale and shift
            integers += 8  # num_batches_tracked
        elif entry.kind == "int8":
            floats += entry.numel
        elif entry.kind == "dense":
            is_float = entry.dtype == LOG8 or entry.dtype.startswith(("float", "bfloat"))
            floats += entry.numel if is_float else 0
            integers += 0 if is_float else entry.stored_bytes
    vector = sum(prototype.length for prototype in manifest.prototypes)
    return Ledger(
        file_bytes=prelude.file_bytes,
        prelude=PRELUDE_BYTES,
        manifest=prelude.manifest_stored,
        chunk_table=prelude.chunks * CHUNK_ROW.size,
        prototypes=prelude.prototype_stored,
        masks=prelude.mask_stored,
        residual=prelude.residual_stored,
        mask_weights=weights,
        mask_ones=sum(tensor_ones[0] for tensor_ones in ones),
        shannon_bytes=sum(entropy_bits(bits, plane_ones) for bits, plane_ones in planes) / 8,
        residual_by_kind=by_kind,
        dense_float32=4 * (weights + floats) + integers,
        dense_float16=2 * (weights + floats) + integers,
        paper_bytes=4 * vector + (weights + 7) // 8,
        paper_dense=4 * weights,
    )


def _kind(kind: str, name: str, in_int8: set[str]) -> str:
    if kind == "bn":
        return "batch norm"
    if kind in ("int8", "scale"):
        return "int8 layers" if name in in_int8 else "channel scales"
    return "bias" if name.rsplit(".", 1)[-1] == "bias" else "other"
