"""`const`: one byte, repeated."""

from __future__ import annotations

from pemn_formats.errors import FormatError
from pemn_formats.lattice import Lattice

__all__ = ["Const"]


class Const:
    """A chunk whose bytes are all the same, as in a mask that keeps everything or nothing."""

    id = 1
    name = "const"
    uses_lattice = False

    def encode(self, raw: bytes, lattice: Lattice = ()) -> bytes | None:
        """Return the one byte, or None if the chunk has others."""
        return raw[:1] if raw and raw.count(raw[0]) == len(raw) else None

    def decode(self, stored: bytes, raw_length: int, lattice: Lattice = ()) -> bytes:
        """Return the byte repeated."""
        if len(stored) != 1:
            raise FormatError(f"a const chunk holds {len(stored)} bytes, expected 1")
        return stored * raw_length
