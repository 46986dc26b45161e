"""The manifest: what a file holds, as canonical columnar JSON."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from pemn_formats import canonical_json
from pemn_formats.content import Content, Delta, MaskedSpec, Prototype, ResidualSpec, Task

__all__ = ["Manifest", "differences", "float_bits", "manifest_of", "to_json"]


@dataclass(frozen=True)
class Manifest:
    """The manifest as data: `Content` without its bits and values. Fields as in `Content`."""

    seed: int
    prototypes: tuple[Prototype, ...]
    masked: tuple[MaskedSpec, ...]
    residual: tuple[ResidualSpec, ...]
    architecture: Mapping[str, Any] | None
    input: Mapping[str, Any] | None
    aliases: Mapping[str, str]
    extra: Mapping[str, Any]
    tasks: Mapping[str, Task] = field(default_factory=dict)
    delta: Delta | None = None

    @property
    def prototype_bytes(self) -> int:
        """Bytes of the prototype stream before compression."""
        return sum(prototype.stored_bytes for prototype in self.prototypes)

    @property
    def mask_bytes(self) -> int:
        """Bytes of the mask stream before compression."""
        return sum(tensor.mask_bytes for tensor in self.masked)

    @property
    def residual_bytes(self) -> int:
        """Bytes of the residual stream before compression."""
        return sum(entry.stored_bytes for entry in self.residual)


def manifest_of(content: Content) -> Manifest:
    """Return the manifest of a content."""
    return Manifest(
        seed=content.seed,
        prototypes=tuple(Prototype(each.length, each.source) for each in content.prototypes),
        masked=content.masked,
        residual=content.residual,
        architecture=content.architecture,
        input=content.input,
        aliases=content.aliases,
        extra=content.extra,
        tasks=content.tasks,
        delta=content.delta,
    )


def differences(manifest: Manifest) -> frozenset[tuple[str, str | int]]:
    """Return what a patch holds as differences: ("prototype", index), ("masked", name), (residual kind, name).

    Their values obey no rule of their own, and are checked when the patch is applied.
    """
    delta = manifest.delta
    if delta is None:
        return frozenset()
    keys: list[tuple[str, str | int]] = [
        *(("prototype", index) for index in range(len(manifest.prototypes))),
        *(("masked", tensor.name) for tensor in manifest.masked),
        *((entry.kind, entry.name) for entry in manifest.residual),
    ]
    flags = (*delta.prototypes, *delta.masked, *delta.residual)
    return frozenset(key for key, flag in zip(keys, flags, strict=True) if flag)


def to_json(manifest: Manifest, *, extra: bool = True) -> bytes:
    """Return the canonical JSON of a manifest; `extra` False leaves out what does not belong to its identity."""
    masked, residual = manifest.masked, manifest.residual
    columns: dict[str, Any] = {
        "aliases": dict(manifest.aliases),
        "architecture": None if manifest.architecture is None else dict(manifest.architecture),
        "input": None if manifest.input is None else dict(manifest.input),
        "masked": {
            "alphabets": [tensor.alphabet for tensor in masked],
            "kept": [tensor.kept for tensor in masked if tensor.kept is not None],
            "names": [tensor.name for tensor in masked],
            "prototypes": [tensor.prototype for tensor in masked],
            "scales": [None if tensor.scale is None else float_bits(tensor.scale) for tensor in masked],
            "shapes": [list(tensor.shape) for tensor in masked],
            "spans": [tensor.span for tensor in masked],
        },
        "prototypes": {
            "lengths": [prototype.length for prototype in manifest.prototypes],
            "sources": [prototype.source for prototype in manifest.prototypes],
        },
        "residual": {
            "dtypes": [entry.dtype for entry in residual],
            "eps": [float_bits(entry.eps) for entry in residual if entry.eps is not None],
            "kinds": [entry.kind for entry in residual],
            "names": [entry.name for entry in residual],
            "shapes": [list(entry.shape) for entry in residual],
        },
        "seed": manifest.seed,
    }
    if manifest.tasks:
        columns["tasks"] = {name: asdict(task) for name, task in manifest.tasks.items()}
    if manifest.delta is not None:
        columns["delta"] = _delta(manifest.delta)
    if extra and manifest.extra:
        columns["x"] = dict(manifest.extra)
    return canonical_json.dump(columns)


def _delta(delta: Delta) -> dict[str, Any]:
    flags = {key: [int(flag) for flag in getattr(delta, key)] for key in ("masked", "prototypes", "residual")}
    return {"base": delta.base, "result": delta.result, **flags}


def float_bits(value: np.float32) -> int:
    """Return the bits of a float32 as an integer: how a manifest writes a real number without rounding it."""
    (bits,) = struct.unpack("<I", struct.pack("<f", value))
    return int(bits)
