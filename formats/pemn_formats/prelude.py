"""The fixed 128 bytes at the start of a file, and the table of chunks."""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass

from pemn_formats.errors import FormatError
from pemn_formats.limits import CHUNK_BYTES, MAX_CHUNKS, MAX_MANIFEST_BYTES

__all__ = ["CHUNK_ROW", "DIGEST_BYTES", "MAGIC", "PRELUDE_BYTES", "VERSION", "Chunk", "Prelude", "chunk_lengths"]

# A byte above 127, CR LF, and Ctrl-Z: text-mode transfers damage at least one of them.
MAGIC = b"\x89PEMN\r\n\x1a"
VERSION = (1, 0)

_FIELDS = struct.Struct("<8sHHIIIIIQQQQ32s")
DIGEST_BYTES = 32
PRELUDE_BYTES = _FIELDS.size + DIGEST_BYTES
CHUNK_ROW = struct.Struct("<BIII")


@dataclass(frozen=True)
class Chunk:
    """A row of the chunk table.

    Codec id, stored bytes, ones among the decoded bits (masks; else 0), CRC-32 of the stored bytes.
    """

    codec: int
    stored: int
    ones: int
    crc: int


@dataclass(frozen=True)
class Prelude:
    """The fields of the first 96 bytes; lengths in bytes, `payload_sha256` over all bytes behind the chunk table."""

    manifest_stored: int
    manifest_raw: int
    chunks: int
    prototype_stored: int
    mask_stored: int
    residual_stored: int
    file_bytes: int
    payload_sha256: bytes
    version: tuple[int, int] = VERSION

    @property
    def header_bytes(self) -> int:
        """Bytes before the first section: prelude, manifest, chunk table."""
        return PRELUDE_BYTES + self.manifest_stored + self.chunks * CHUNK_ROW.size

    def pack(self, manifest: bytes, table: bytes) -> bytes:
        """Return the 128 bytes, sealed over the stored manifest and the chunk table."""
        fields = _FIELDS.pack(
            MAGIC,
            *self.version,
            0,
            self.manifest_stored,
            self.manifest_raw,
            self.chunks,
            0,
            self.prototype_stored,
            self.mask_stored,
            self.residual_stored,
            self.file_bytes,
            self.payload_sha256,
        )
        return fields + hashlib.sha256(fields + manifest + table).digest()

    @classmethod
    def unpack(cls, raw: bytes, size: int) -> Prelude:
        """Return the fields after checking them against each other and the file's `size`.

        The header's digest needs the rest of the header and is checked by the reader.
        """
        if size == 0:
            raise FormatError("the file is empty")
        _check_magic(raw[: len(MAGIC) + 1])
        if size < PRELUDE_BYTES or len(raw) < PRELUDE_BYTES:
            raise FormatError(f"the file is truncated: it has {size} bytes, its prelude alone takes {PRELUDE_BYTES}")
        fields = _FIELDS.unpack_from(raw)
        major, minor, flags, manifest_stored, manifest_raw, chunks, reserved = fields[1:8]
        prototypes, masks, residual, file_bytes, digest = fields[8:]
        if major != VERSION[0]:
            raise FormatError(
                f"the file has format version {major}.{minor}, this reader knows {VERSION[0]}.x; upgrade pemn-compress"
            )
        if flags or reserved:
            raise FormatError(
                f"the file needs features that this reader lacks (flags {flags:#x}); upgrade pemn-compress"
            )
        if not 0 < manifest_raw <= MAX_MANIFEST_BYTES or not 0 < manifest_stored <= manifest_raw:
            raise FormatError(
                f"the manifest takes {manifest_stored} bytes for {manifest_raw}, expected at most {MAX_MANIFEST_BYTES}"
            )
        if chunks > MAX_CHUNKS:
            raise FormatError(f"the file has {chunks} chunks, at most {MAX_CHUNKS} are allowed")
        if file_bytes > size:
            raise FormatError(f"the file is truncated: it has {size} bytes, expected {file_bytes}")
        if file_bytes < size:
            raise FormatError(f"{size - file_bytes} bytes follow the end of the file at {file_bytes}")
        prelude = cls(
            manifest_stored=manifest_stored,
            manifest_raw=manifest_raw,
            chunks=chunks,
            prototype_stored=prototypes,
            mask_stored=masks,
            residual_stored=residual,
            file_bytes=file_bytes,
            payload_sha256=digest,
            version=(major, minor),
        )
        if prelude.header_bytes + prototypes + masks + residual != file_bytes:
            raise FormatError(f"the header and the sections do not add up to the {file_bytes} bytes of the file")
        return prelude


def chunk_lengths(stream_bytes: int) -> list[int]:
    """Return the decoded lengths of a stream's chunks: all of 2^19 bytes but the last."""
    full, rest = divmod(stream_bytes, CHUNK_BYTES)
    return [CHUNK_BYTES] * full + ([rest] if rest else [])


def _check_magic(found: bytes) -> None:
    if found[:8] == MAGIC or MAGIC.startswith(found):
        return
    if found[1:5] == MAGIC[1:5] or found[:4] == b"PEMN":
        raise FormatError("the file was damaged by a text-mode transfer: its first bytes are a changed .pemn signature")
    if len(found) < 8:
        raise FormatError(f"not a .pemn file: it has {len(found)} bytes and no signature")
    if found[8:] == b"{":
        raise FormatError("not a .pemn file: it looks like safetensors; export a trained run to get a .pemn file")
    if found[:2] == b"PK":
        raise FormatError("not a .pemn file: it looks like a zip archive or a torch checkpoint")
    raise FormatError(f"not a .pemn file: it starts with {found[:8]!r}")
