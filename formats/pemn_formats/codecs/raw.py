"""`raw`: the chunk as it stands."""

from __future__ import annotations

from pemn_formats.errors import FormatError
from pemn_formats.lattice import Lattice

__all__ = ["Raw"]


class Raw:
    """The chunk's own bytes; the best there is for independent fair bits."""

    id = 0
    name = "raw"
    uses_lattice = False

    def encode(self, raw: bytes, lattice: Lattice = ()) -> bytes | None:
        """Return the chunk."""
        return raw

    def decode(self, stored: bytes, raw_length: int, lattice: Lattice = ()) -> bytes:
        """Return the chunk after checking its length."""
        if len(stored) != raw_length:
            raise FormatError(f"a raw chunk holds {len(stored)} bytes, expected {raw_length}")
        return stored
