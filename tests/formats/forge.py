"""Taking a file apart and putting it together again with every digest repaired: how tests make hostile files.

Transcribed from the layout of the format and not from its code, so that a change of the layout shows here.
"""

from __future__ import annotations

import hashlib
import json
import struct
import zlib
from dataclasses import dataclass, field, replace
from typing import Any

import zstandard

PRELUDE = struct.Struct("<8sHHIIIIIQQQQ32s")
ROW = struct.Struct("<BIII")
NAMES = (
    "magic",
    "major",
    "minor",
    "flags",
    "manifest_stored",
    "manifest_raw",
    "chunks",
    "reserved",
    "prototypes",
    "masks",
    "residual",
    "file_bytes",
    "payload_sha256",
)
DIGEST = 32
HEADER = PRELUDE.size + DIGEST


@dataclass
class Piece:
    """A chunk: its row and its stored bytes. `stored` and `crc` None are computed."""

    codec: int
    ones: int
    data: bytes
    stored: int | None = None
    crc: int | None = None

    def row(self) -> bytes:
        stored = len(self.data) if self.stored is None else self.stored
        return ROW.pack(self.codec, stored, self.ones, zlib.crc32(self.data) if self.crc is None else self.crc)


@dataclass
class Forge:
    """A file in parts. Change any of them; `build` makes the rest agree, except for the lies told in `fields`."""

    manifest: Any
    sections: list[list[Piece]]
    raw_manifest: bytes | None = None
    stored_manifest: bytes | None = None
    fields: dict[str, Any] = field(default_factory=dict)

    def copy(self) -> Forge:
        """An independent copy; a manifest is copied as text, many times faster than `deepcopy` does it."""
        sections = [[replace(piece) for piece in pieces] for pieces in self.sections]
        return replace(
            self, manifest=json.loads(json.dumps(self.manifest)), sections=sections, fields=dict(self.fields)
        )

    @classmethod
    def of(cls, data: bytes) -> Forge:
        fields = dict(zip(NAMES, PRELUDE.unpack_from(data), strict=True))
        at = HEADER + fields["manifest_stored"]
        manifest = data[HEADER:at]
        if fields["manifest_stored"] != fields["manifest_raw"]:
            manifest = zstandard.ZstdDecompressor().decompress(manifest)
        rows = []
        for _ in range(fields["chunks"]):
            rows.append(ROW.unpack_from(data, at))
            at += ROW.size
        sections = []
        for name in ("prototypes", "masks", "residual"):
            end, pieces = at + fields[name], []
            while at < end:
                codec, stored, ones, _ = rows.pop(0)
                pieces.append(Piece(codec, ones, data[at : at + stored]))
                at += stored
            sections.append(pieces)
        return cls(json.loads(manifest), sections)

    def build(self) -> bytes:
        raw = self.raw_manifest
        if raw is None:
            raw = json.dumps(self.manifest, sort_keys=True, separators=(",", ":")).encode()
        manifest = raw if self.stored_manifest is None else self.stored_manifest
        table = b"".join(piece.row() for pieces in self.sections for piece in pieces)
        payloads = [b"".join(piece.data for piece in pieces) for pieces in self.sections]
        payload = b"".join(payloads)
        fields = {
            "magic": b"\x89PEMN\r\n\x1a",
            "major": 1,
            "minor": 0,
            "flags": 0,
            "manifest_stored": len(manifest),
            "manifest_raw": len(raw),
            "chunks": len(table) // ROW.size,
            "reserved": 0,
            **{name: len(each) for name, each in zip(("prototypes", "masks", "residual"), payloads, strict=True)},
            "file_bytes": HEADER + len(manifest) + len(table) + len(payload),
            "payload_sha256": hashlib.sha256(payload).digest(),
        } | self.fields
        prelude = PRELUDE.pack(*fields.values())
        return prelude + hashlib.sha256(prelude + manifest + table).digest() + manifest + table + payload
