"""The three streams of a file, cut into chunks: where each chunk lies, and its bytes once decoded and checked."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from pemn_formats.bits import popcount
from pemn_formats.codecs import CODECS, MASK_CODECS, VALUE_CODECS
from pemn_formats.errors import FormatError
from pemn_formats.lattice import Lattice
from pemn_formats.limits import CHUNK_BYTES
from pemn_formats.manifest import Manifest
from pemn_formats.names import shown
from pemn_formats.prelude import Chunk, Prelude, chunk_lengths
from pemn_formats.source import Source

__all__ = ["SECTIONS", "Placed", "Section", "sections"]

SECTIONS = ("prototypes", "masks", "residual")


@dataclass(frozen=True)
class Placed:
    """A chunk with its place in the file, and its place and length in the decoded stream."""

    chunk: Chunk
    offset: int
    start: int
    raw: int


class Section:
    """One stream. `entries` are the names and decoded lengths of what it holds, so that damage can name it."""

    def __init__(self, name: str, source: Source, placed: list[Placed], entries: list[tuple[str, int]]) -> None:
        self.name = name
        self._source = source
        self.placed = placed
        self._entries = entries
        self._cached: tuple[int, bytes] | None = None
        self.lattice: Callable[[int, int], Lattice] = lambda start, length: ()
        """Gives the lattice of a part of the decoded stream, for codecs that want it; set for masks by the reader."""

    @property
    def raw_bytes(self) -> int:
        """Bytes of the decoded stream."""
        return sum(placed.raw for placed in self.placed)

    def range(self, start: int, length: int) -> memoryview:
        """Return a part of the decoded stream, read-only, decoding only the chunks that hold it."""
        out, at = bytearray(length), 0
        for part in self.parts(start, length):
            out[at : at + part.nbytes] = part
            at += part.nbytes
        return memoryview(out).toreadonly()

    def parts(self, start: int, length: int) -> Iterator[memoryview]:
        """Yield a part of the decoded stream in order, as much of it at a time as one chunk holds."""
        for index in range(start // CHUNK_BYTES, -(-(start + length) // CHUNK_BYTES) if length else 0):
            # Neighbouring tensors share a chunk, and tensors are mostly asked for in order.
            cached = self._cached
            if cached is None or cached[0] != index:
                self._cached = None  # or two chunks would be held while the next one is decoded
                cached = self._cached = (index, self.decode(self.placed[index], self.read(self.placed[index])))
            first = index * CHUNK_BYTES
            yield memoryview(cached[1])[max(0, start - first) : start + length - first]

    def check_stored(self) -> None:
        """Check the CRC-32 of every chunk; raise `FormatError` naming the first that is damaged."""
        for placed in self.placed:
            self._check(placed, self.read(placed))

    def codecs(self) -> dict[str, int]:
        """Return how many chunks each codec wrote."""
        names = [CODECS[placed.chunk.codec].name for placed in self.placed]
        return {name: names.count(name) for name in dict.fromkeys(names)}

    def read(self, placed: Placed) -> bytes:
        """Return the stored bytes of a chunk as they are."""
        return self._source.read(placed.offset, placed.chunk.stored)

    def decode(self, placed: Placed, stored: bytes) -> bytes:
        """Return the decoded bytes of a chunk, checked; raise `FormatError` naming what it holds."""
        self._check(placed, stored)
        try:
            codec = CODECS[placed.chunk.codec]
            lattice = self.lattice(placed.start, placed.raw) if codec.uses_lattice else ()
            raw = codec.decode(stored, placed.raw, lattice)
        except FormatError as error:
            raise FormatError(f"{self._where(placed)}: {error}") from None
        if self.name == "masks" and popcount(raw) != placed.chunk.ones:
            found = popcount(raw)
            raise FormatError(f"{self._where(placed)} has {found} ones, expected {placed.chunk.ones}")
        return raw

    def _check(self, placed: Placed, stored: bytes) -> None:
        if zlib.crc32(stored) != placed.chunk.crc:
            self._source.check_unchanged()
            raise FormatError(f"{self._where(placed)} is damaged: its CRC-32 differs")

    def _where(self, placed: Placed) -> str:
        """Name a chunk by what it holds."""
        held, at = [], 0
        for name, length in self._entries:
            if at < placed.start + placed.raw and at + length > placed.start:
                held.append(shown(name))
            at += length
        return (
            f"a chunk of the {self.name} ({held[0]})"
            if len(held) == 1
            else (f"a chunk of the {self.name} ({held[0]} to {held[-1]})")
        )


def sections(prelude: Prelude, manifest: Manifest, rows: list[Chunk], source: Source) -> list[Section]:
    """Return the prototype, mask and residual sections; raise `FormatError` where table and manifest disagree."""
    entries: list[list[tuple[str, int]]] = [
        [(f"prototype {index}", each.stored_bytes) for index, each in enumerate(manifest.prototypes)],
        [(tensor.name, tensor.mask_bytes) for tensor in manifest.masked],
        [(entry.name, entry.stored_bytes) for entry in manifest.residual],
    ]
    raw_lengths = [chunk_lengths(sum(length for _, length in each)) for each in entries]
    needed = sum(map(len, raw_lengths))
    if needed != prelude.chunks:
        raise FormatError(f"the file has {prelude.chunks} chunks, its tensors need {needed}")
    stored_lengths = (prelude.prototype_stored, prelude.mask_stored, prelude.residual_stored)
    remaining = iter(rows)
    offset = prelude.header_bytes
    out = []
    for name, lengths, stored, named in zip(SECTIONS, raw_lengths, stored_lengths, entries, strict=True):
        placed, begin = [], offset
        for index, raw in enumerate(lengths):
            chunk = next(remaining)
            _check_row(chunk, raw, name)
            placed.append(Placed(chunk, offset, index * CHUNK_BYTES, raw))
            offset += chunk.stored
        if offset - begin != stored:
            raise FormatError(f"the chunks of the {name} take {offset - begin} bytes, the section {stored}")
        out.append(Section(name, source, placed, named))
    return out


def _check_row(chunk: Chunk, raw: int, section: str) -> None:
    known = MASK_CODECS if section == "masks" else VALUE_CODECS
    if chunk.codec not in [each.id for each in known]:
        raise FormatError(f"a chunk of the {section} has the unknown codec {chunk.codec}; upgrade pemn-compress")
    if not 0 < chunk.stored <= raw:
        raise FormatError(f"a chunk of the {section} stores {raw} bytes in {chunk.stored}")
    if chunk.ones > (8 * raw if section == "masks" else 0):
        raise FormatError(f"a chunk of the {section} claims {chunk.ones} ones among {8 * raw} bits")
