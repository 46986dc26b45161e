"""From `Content` to the bytes of a file."""

from __future__ import annotations

import hashlib
import math
import os
import zlib
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from pemn_formats.atomic import atomic_write
from pemn_formats.bits import pad_is_zero, popcount
from pemn_formats.codecs import MASK_CODECS, VALUE_CODECS, Codec, encode_smallest
from pemn_formats.codecs.zstd import compress
from pemn_formats.content import DTYPES, Content
from pemn_formats.errors import FormatError, PemnError
from pemn_formats.lattice import Lattice
from pemn_formats.ledger import Ledger
from pemn_formats.limits import CHUNK_BYTES
from pemn_formats.manifest import differences, manifest_of, to_json
from pemn_formats.manifest_reader import parse
from pemn_formats.mask_lattice import mask_lattice
from pemn_formats.prelude import CHUNK_ROW, Chunk, Prelude
from pemn_formats.reader import Reader
from pemn_formats.residual_rules import check_values

__all__ = ["content_id", "encode", "write"]


def write(path: str | os.PathLike[str], content: Content, *, force: bool = False) -> Ledger:
    """Write a content to a `.pemn` file, whole or not at all, and return its ledger.

    Raises `PemnError` where the file cannot be put, or where `content` breaks a rule of the format.
    """
    data = encode(content)
    with Reader.open(data) as reader:
        ledger = reader.ledger()
    with atomic_write(path, force=force) as file:
        file.write(data)
    return ledger


def encode(content: Content) -> bytes:
    """Return the bytes of a content. The same content and library versions give the same bytes."""
    manifest_json = _checked_manifest(content)
    manifest = manifest_of(content)
    prototypes, masks, residual = _streams(content)
    sections, rows = [], []
    for stream, candidates, is_mask in (
        (prototypes, VALUE_CODECS, False),
        (masks, MASK_CODECS, True),
        (residual, VALUE_CODECS, False),
    ):
        section = bytearray()
        for start in range(0, len(stream), CHUNK_BYTES):
            raw = stream[start : start + CHUNK_BYTES]
            lattice = mask_lattice(manifest, content.prototypes, start, len(raw)) if is_mask else ()
            chunk, stored = _encode_chunk(raw, candidates, lattice, is_mask)
            rows.append(chunk)
            section += stored
        sections.append(bytes(section))
    frame = compress(manifest_json)
    stored_manifest = frame if len(frame) < len(manifest_json) else manifest_json
    table = b"".join(CHUNK_ROW.pack(row.codec, row.stored, row.ones, row.crc) for row in rows)
    payload = b"".join(sections)
    prelude = Prelude(
        manifest_stored=len(stored_manifest),
        manifest_raw=len(manifest_json),
        chunks=len(rows),
        prototype_stored=len(sections[0]),
        mask_stored=len(sections[1]),
        residual_stored=len(sections[2]),
        file_bytes=0,
        payload_sha256=hashlib.sha256(payload).digest(),
    )
    prelude = Prelude(**{**vars(prelude), "file_bytes": prelude.header_bytes + len(payload)})
    return prelude.pack(stored_manifest, table) + stored_manifest + table + payload


def content_id(content: Content) -> str:
    """Return the identity of a content, as 64 hexadecimal digits: SHA-256 over what it says, however it is coded."""
    from pemn_formats.identity import identity

    return identity(to_json(manifest_of(content), extra=False), *_streams(content))


def _checked_manifest(content: Content) -> bytes:
    """What the reader would refuse must not be written: the manifest goes through the reader's own checks."""
    try:
        raw = to_json(manifest_of(content))
        parse(raw)
    except FormatError as error:
        raise PemnError(f"the model cannot be written: {error}") from None
    except (TypeError, ValueError) as error:
        raise PemnError(f"the model cannot be written: {error}") from None
    return raw


def _streams(content: Content) -> tuple[bytes, bytes, bytes]:
    prototypes = b"".join(
        _values(each.values, each.source, each.length, f"prototype {index}")
        for index, each in enumerate(content.prototypes)
        if not each.seeded
    )
    masks = b"".join(_planes(content))
    residual = b"".join(
        _values(each.values, each.held_dtype, math.prod(each.held_shape), each.name) for each in content.residual
    )
    _check_finite(content)
    return prototypes, masks, residual


def _planes(content: Content) -> Iterable[bytes]:
    unruly = differences(manifest_of(content))
    for tensor in content.masked:
        if len(tensor.planes) != len(tensor.plane_bits):
            raise PemnError(f"{tensor.name} has {len(tensor.planes)} bit planes, expected {len(tensor.plane_bits)}")
        for plane, bits in zip(tensor.planes, tensor.plane_bits, strict=True):
            if plane.dtype != np.uint8 or plane.shape != ((bits + 7) // 8,) or not pad_is_zero(plane, bits):
                raise PemnError(f"{tensor.name} has a bit plane that is not {bits} packed bits with zero padding")
            yield plane.tobytes()
        checked = ("masked", tensor.name) not in unruly
        if checked and tensor.kept is not None and popcount(tensor.planes[0]) != tensor.kept:
            raise PemnError(f"{tensor.name} keeps {popcount(tensor.planes[0])} weights, but says {tensor.kept}")


def _values(values: npt.NDArray[Any] | None, dtype: str, count: int, what: str) -> bytes:
    if values is None or values.size != count or values.dtype != DTYPES[dtype]:
        found = "none" if values is None else f"{values.size} of {values.dtype}"
        raise PemnError(f"{what} must hold {count} values of {dtype}, found {found}")
    return values.tobytes()


def _check_finite(content: Content) -> None:
    """Values that are multiplied must be finite, and residual entries must obey their rules."""
    unruly = differences(manifest_of(content))
    held = [
        (f"prototype {index}", each.values)
        for index, each in enumerate(content.prototypes)
        if not each.seeded and ("prototype", index) not in unruly
    ]
    for what, values in held:
        if values is not None and not np.isfinite(values).all():
            raise PemnError(f"{what} holds values that are not finite")
    for entry in content.residual:
        if (entry.kind, entry.name) not in unruly:
            try:
                check_values(entry)
            except FormatError as error:
                raise PemnError(str(error)) from None


def _encode_chunk(raw: bytes, candidates: tuple[Codec, ...], lattice: Lattice, is_mask: bool) -> tuple[Chunk, bytes]:
    codec, stored = encode_smallest(raw, candidates, lattice)
    return Chunk(codec.id, len(stored), popcount(raw) if is_mask else 0, zlib.crc32(stored)), stored
