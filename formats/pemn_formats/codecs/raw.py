"""`raw`: the chunk as it stands."""

from __future__ import annotations

from pemn_formats.errors import FormatError

__all__ = ["Raw"]


class Raw:
    """The chunk's own bytes; the best there is for independent fair bits."""

    id = 0
    name = "raw"

    def encode(self, raw: bytes) -> bytes | None:
        """Return the chunk."""
        return raw

    def decode(self, stored: bytes, raw_length: int) -> bytes:
        """Return the chunk after checking its length."""
        if len(stored) != raw_length:
            raise FormatError(f"a raw chunk holds {len(stored)} bytes, expected {raw_length}")
        return stored
