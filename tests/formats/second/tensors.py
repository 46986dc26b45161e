"""Values, weights and restored entries by SPEC.md, sections 7 and 8."""

from __future__ import annotations

import math
import struct
from typing import NamedTuple

from second import numbers
from second.fields import NARROW, SEEDED, Entry, Manifest, Masked
from second.numbers import floats_of, single, stored_as
from second.text import refuse_unless

Streams = tuple[bytes, bytes, bytes]


class Tensor(NamedTuple):
    """An entry of the state dict: little-endian values in C order."""

    dtype: str
    shape: tuple[int, ...]
    data: bytes


def check_values(manifest: Manifest, streams: Streams) -> None:
    """Refuse stored values that may not be; those that are differences may be anything."""
    prototypes = zip(manifest.prototypes, _cut(streams[0], manifest.prototype_bytes()), strict=True)
    for index, ((source, _), data) in enumerate(prototypes):
        if source not in SEEDED and not manifest.differs("prototypes", index):
            refuse_unless(_finite(floats_of(source, data)), "a prototype that is not finite")
    for index, (entry, data) in enumerate(residual_data(manifest, streams)):
        if not manifest.differs("residual", index):
            _check_entry(entry, data)


def _check_entry(entry: Entry, data: bytes) -> None:
    if entry.dtype == "bool":
        refuse_unless(data.translate(None, b"\0\1") == b"", "a truth value that is neither 0 nor 1")
    if entry.kind == "int8":
        refuse_unless(128 not in data, "an 8-bit weight of -128")
    if entry.dtype == "log8":
        ranges, shifts, codes = numbers.log8_parts(data, entry.vectors)
        refuse_unless(all(2.0**-62 <= high < math.inf for high in ranges), "a range out of bounds")
        refuse_unless(max(shifts) <= 5 and 128 not in codes, "a shift or a code out of bounds")
    elif entry.kind == "scale":
        refuse_unless(_finite(floats_of(entry.dtype, data)), "a scale that is not finite")


def _finite(values: list[float]) -> bool:
    return all(map(math.isfinite, values))


def _cut(stream: bytes, sizes: list[int]) -> list[bytes]:
    out, at = [], 0
    for size in sizes:
        out.append(stream[at : at + size])
        at += size
    return out


def residual_data(manifest: Manifest, streams: Streams) -> list[tuple[Entry, bytes]]:
    """Each entry with its stored bytes."""
    data = _cut(streams[2], [entry.size for entry in manifest.residual])
    return list(zip(manifest.residual, data, strict=True))


def plane_data(manifest: Manifest, stream: bytes) -> list[list[bytes]]:
    """The bytes of each tensor's planes."""
    left = iter(_cut(stream, [-(-bits // 8) for bits in manifest.plane_bits()]))
    return [[next(left) for _ in tensor.planes] for tensor in manifest.masked]


def base(manifest: Manifest, stream: bytes, tensor: Masked, begin: int, end: int) -> list[float]:
    """base[i] for i from `begin` to `end`."""
    source, length = manifest.prototypes[tensor.prototype]
    seed = manifest.json["seed"]
    if source in SEEDED:
        values = numbers.unit_values(source, seed, tensor.prototype, length)
    else:
        values = floats_of(source, _cut(stream, manifest.prototype_bytes())[tensor.prototype])
    return [values[at] for at in numbers.places(length, tensor.span, seed, tensor.prototype, begin, end)]


def base_signs(manifest: Manifest, stream: bytes, tensor: Masked, begin: int, end: int) -> list[int]:
    """The signs that the context coder asks for."""
    return [1 if value > 0 else -1 for value in base(manifest, stream, tensor, begin, end)]


def weights(manifest: Manifest, streams: Streams, tensor: Masked, planes: list[bytes], dtype: str) -> Tensor:
    """A masked tensor in one of the output dtypes."""
    kept = _bits(planes[0], tensor.numel)
    if tensor.scale is None:
        scales = _scales(manifest, streams, tensor.name)
    else:
        scales = [numbers.float_of(tensor.scale)] * tensor.shape[0]
    row = tensor.numel // tensor.shape[0]
    negative = iter(_bits(planes[1], tensor.kept or 0)) if tensor.alphabet == "ternary" else iter(())
    out = []
    for i, value in enumerate(base(manifest, streams[0], tensor, 0, tensor.numel)):
        v = single(scales[i // row] * value)
        if tensor.alphabet == "ternary":
            v = (-v if next(negative) else v) if kept[i] else 0.0
        elif not kept[i]:
            v = 0.0 if tensor.alphabet == "keep" else -v
        out.append(stored_as(dtype, v))
    return Tensor(dtype, tensor.shape, b"".join(out))


def _bits(plane: bytes, count: int) -> list[int]:
    return [plane[i >> 3] >> (i & 7) & 1 for i in range(count)]


def _floats(entry: Entry, data: bytes) -> list[float]:
    return numbers.log8_values(data, entry.vectors) if entry.dtype == "log8" else floats_of(entry.dtype, data)


def _scales(manifest: Manifest, streams: Streams, name: str) -> list[float]:
    (found,) = (pair for pair in residual_data(manifest, streams) if pair[0].kind == "scale" and pair[0].name == name)
    return _floats(*found)


def state(manifest: Manifest, streams: Streams, dtype: str) -> dict[str, Tensor]:
    """Every entry of the state dict of a model, with the masked weights in one of the output dtypes."""
    planes = plane_data(manifest, streams[1])
    out = {
        tensor.name: weights(manifest, streams, tensor, own, dtype)
        for tensor, own in zip(manifest.masked, planes, strict=True)
    }
    for entry, data in residual_data(manifest, streams):
        if entry.kind == "bn":
            out |= _norm(entry, data)
        elif entry.kind == "int8":
            scales, row = _scales(manifest, streams, entry.name), entry.numel // entry.shape[0]
            codes = struct.unpack(f"<{len(data)}b", data)
            out[entry.name] = _tensor(entry.shape, [single(code * scales[i // row]) for i, code in enumerate(codes)])
        elif entry.kind == "dense":
            narrow = entry.dtype in NARROW
            out[entry.name] = (
                _tensor(entry.shape, _floats(entry, data)) if narrow else Tensor(entry.dtype, entry.shape, data)
            )
    return out | {name: out[of] for name, of in manifest.json["aliases"].items()}


def _tensor(shape: tuple[int, ...], values: list[float]) -> Tensor:
    return Tensor("float32", shape, struct.pack(f"<{len(values)}f", *values))


def _norm(entry: Entry, data: bytes) -> dict[str, Tensor]:
    channels = entry.shape[1]
    values = _floats(entry, data)
    variance = single(1 - numbers.float_of(entry.eps or 0))
    parts = [values[:channels], values[channels:], [0.0] * channels, [variance] * channels]
    tensors = [_tensor((channels,), part) for part in parts]
    return dict(zip(entry.states(), (*tensors, Tensor("int64", (), bytes(8))), strict=True))
