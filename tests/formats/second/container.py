"""Prelude, chunk table and sections by SPEC.md, sections 2 to 5, and the identity of section 11."""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from second.coder import decode, frame
from second.fields import Manifest, Masked
from second.manifest import check
from second.order import Part, Plane
from second.tensors import base_signs, check_values
from second.text import RefusedError, dump, parse, refuse_unless

MAGIC = b"\x89PEMN\r\n\x1a"
PRELUDE = struct.Struct("<8sHHIIIIIQQQQ32s32s")
ROW = struct.Struct("<BIII")
CHUNK = 1 << 19
PADDED = "a pad bit that is set"


@dataclass(frozen=True)
class File:
    """A file that obeys the specification: its manifest and the decoded streams of prototypes, masks and residual."""

    manifest: Manifest
    streams: tuple[bytes, bytes, bytes]

    def content_id(self) -> str:
        text = dump({key: value for key, value in self.manifest.json.items() if key != "x"})
        head = b"pemn content 1\n" + struct.pack("<Q", len(text))
        return hashlib.sha256(head + text + b"".join(self.streams)).hexdigest()


def load(data: bytes, budget: int = 1 << 32) -> File:
    """Read and check a whole file; `budget` bounds the decoded streams together."""
    refuse_unless(len(data) >= PRELUDE.size, "a file without a prelude")
    (magic, major, _, flags, stored, raw, chunks, reserved, *sizes, total, payload_digest, digest) = PRELUDE.unpack(
        data[: PRELUDE.size]
    )
    refuse_unless(magic == MAGIC and major == 1 and flags == 0 and reserved == 0, "a prelude of something else")
    refuse_unless(1 <= raw <= 1 << 24 and 1 <= stored <= raw and chunks <= 1 << 20, "lengths out of bounds")
    table = PRELUDE.size + stored
    begin = table + chunks * ROW.size
    refuse_unless(len(data) == total == begin + sum(sizes), "parts that do not make up the file")
    header = data[: PRELUDE.size - 32] + data[PRELUDE.size : begin]
    refuse_unless(hashlib.sha256(header).digest() == digest, "a wrong header digest")
    refuse_unless(hashlib.sha256(data[begin:]).digest() == payload_digest, "a wrong payload digest")
    text = data[PRELUDE.size : table]
    manifest = check(parse(text if stored == raw else frame(text, raw)))
    lengths = manifest.lengths()
    refuse_unless(sum(lengths) <= budget, "more than the budget")
    counts = [-(-length // CHUNK) for length in lengths]
    refuse_unless(sum(counts) == chunks, "another number of chunks")
    rows = list(ROW.iter_unpack(data[table:begin]))
    streams: list[bytes] = []
    for section, (length, size, count) in enumerate(zip(lengths, sizes, counts, strict=True)):
        own, rows = rows[:count], rows[count:]
        refuse_unless(sum(row[1] for row in own) == size, "chunks that do not make up their section")
        parts = partial(mask_parts, manifest, streams[0]) if section == 1 else None
        streams.append(_stream(data[begin : begin + size], own, length, parts))
        begin += size
    file = File(manifest, (streams[0], streams[1], streams[2]))
    check_padding(file)
    check_values(manifest, file.streams)
    return file


def _stream(
    data: bytes, rows: list[tuple[int, ...]], length: int, parts: Callable[[int, int], list[Part]] | None
) -> bytes:
    chunks, at = [], 0
    for number, (codec, size, ones, crc) in enumerate(rows):
        begin = number * CHUNK
        expected = min(CHUNK, length - begin)
        refuse_unless(1 <= size <= expected, "a chunk's stored length out of bounds")
        stored, at = data[at : at + size], at + size
        refuse_unless(zlib.crc32(stored) == crc, "a wrong CRC")
        chunk = decode(codec, stored, expected, None if parts is None else parts(begin, begin + expected))
        refuse_unless(ones == (bin(int.from_bytes(chunk, "little")).count("1") if parts is not None else 0), "ones")
        chunks.append(chunk)
    return b"".join(chunks)


def _places(manifest: Manifest) -> list[list[int]]:
    """The place in the mask stream of every plane of every tensor."""
    out, place = [], 0
    for tensor in manifest.masked:
        out.append([])
        for bits in tensor.planes:
            out[-1].append(place)
            place += -(-bits // 8) * 8
    return out


def mask_parts(manifest: Manifest, prototypes: bytes, begin: int, end: int) -> list[Part]:
    """The tensors that have bits between two bytes of the mask stream."""
    parts = []
    for tensor, own in zip(manifest.masked, _places(manifest), strict=True):
        planes = [_cut(place, bits, 8 * begin, 8 * end) for place, bits in zip(own, tensor.planes, strict=True)]
        if any(plane.count for plane in planes):
            shape = None if manifest.is_patch else tensor.shape
            parts.append(Part(planes, shape, tensor.kept, _signs(manifest, prototypes, tensor)))
    return parts


def _signs(manifest: Manifest, prototypes: bytes, tensor: Masked) -> Callable[[int, int], list[int]]:
    return lambda begin, end: base_signs(manifest, prototypes, tensor, begin, end)


def _cut(place: int, bits: int, begin: int, end: int) -> Plane:
    """The part of a plane between two bits of the stream, at its place in that piece."""
    first, last = max(place, begin), min(place + bits, end)
    count = max(0, last - first)
    return Plane(first - begin, first - place, count, count == bits)


def check_padding(file: File) -> None:
    """Refuse unused bits that are set, and, where the mask is no difference, another number of ones than `kept`."""
    at = 0
    for index, tensor in enumerate(file.manifest.masked):
        for number, bits in enumerate(tensor.planes):
            size = -(-bits // 8)
            plane = int.from_bytes(file.streams[1][at : at + size], "little")
            if plane >> bits:
                raise RefusedError(PADDED)
            if tensor.kept is not None and number == 0 and not file.manifest.differs("masked", index):
                refuse_unless(bin(plane).count("1") == tensor.kept, "another number of weights than `kept` says")
            at += size
