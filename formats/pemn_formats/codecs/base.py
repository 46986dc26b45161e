"""What a codec is."""

from __future__ import annotations

from typing import Protocol

from pemn_formats.lattice import Lattice

__all__ = ["Codec"]


class Codec(Protocol):
    """One way to write a chunk of bytes down.

    `encode` returns the stored bytes, or None when it cannot express the chunk. `decode` returns exactly `raw_length`
    bytes for any stored bytes whatsoever or raises `FormatError`, and never allocates more than a small multiple of
    `raw_length`. `lattice` says where the bits of a mask chunk stand in their tensors, for a codec that `uses_lattice`.
    A codec has no state, and at most options that say how hard `encode` tries: the same bytes always mean the same.
    """

    id: int
    name: str
    uses_lattice: bool

    def encode(self, raw: bytes, lattice: Lattice = ()) -> bytes | None:
        """Return the stored form of a chunk, or None."""
        ...

    def decode(self, stored: bytes, raw_length: int, lattice: Lattice = ()) -> bytes:
        """Return the chunk; raise `FormatError` for anything that `encode` cannot have written."""
        ...
