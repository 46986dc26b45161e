"""The part of a file before its sections: prelude, manifest and chunk table, sealed by one digest."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from pemn_formats import manifest_reader
from pemn_formats.codecs.zstd import decompress
from pemn_formats.errors import FormatError
from pemn_formats.manifest import Manifest
from pemn_formats.prelude import CHUNK_ROW, DIGEST_BYTES, PRELUDE_BYTES, Chunk, Prelude
from pemn_formats.source import Source

__all__ = ["Header", "read_header"]


@dataclass(frozen=True)
class Header:
    """What a file says before its first section."""

    prelude: Prelude
    manifest: Manifest
    rows: list[Chunk]


def read_header(source: Source) -> Header:
    """Return the header of a file, its digest and every field checked; raise `FormatError` for any other file."""
    prelude = Prelude.unpack(source.read(0, min(PRELUDE_BYTES, source.size)), source.size)
    header = source.read(0, prelude.header_bytes)
    seal_at, table_at = PRELUDE_BYTES - DIGEST_BYTES, PRELUDE_BYTES + prelude.manifest_stored
    if hashlib.sha256(header[:seal_at] + header[PRELUDE_BYTES:]).digest() != header[seal_at:PRELUDE_BYTES]:
        source.check_unchanged()
        raise FormatError("the header is damaged: its SHA-256 differs")
    manifest = manifest_reader.parse(_manifest_json(prelude, header[PRELUDE_BYTES:table_at]))
    return Header(prelude, manifest, [Chunk(*row) for row in CHUNK_ROW.iter_unpack(header[table_at:])])


def _manifest_json(prelude: Prelude, stored: bytes) -> bytes:
    """A manifest as long as its JSON is not compressed."""
    if prelude.manifest_stored == prelude.manifest_raw:
        return stored
    try:
        return decompress(stored, prelude.manifest_raw)
    except FormatError as error:
        raise FormatError(f"the manifest: {error}") from None
