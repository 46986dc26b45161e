"""`zstd`: the chunk as one Zstandard frame (RFC 8878) that declares its size."""

from __future__ import annotations

import zstandard

from pemn_formats.errors import FormatError
from pemn_formats.lattice import Lattice

__all__ = ["BEST", "FAST", "Zstd", "compress", "declared", "decompress"]

# Fast levels find fewer of the spurious matches that make independent bits larger; slow ones find real structure.
BEST = (1, 19)
FAST = (1,)
_WIDEST = 1 << 27


def compress(raw: bytes, levels: tuple[int, ...] = BEST) -> bytes:
    """Return the shortest of the frames that a few levels give; no checksum, no dictionary."""
    frames = [zstandard.ZstdCompressor(level=level, write_checksum=False).compress(raw) for level in levels]
    return min(frames, key=len)


def declared(stored: bytes) -> int:
    """Return how many bytes a frame says that it holds, 2^64 - 1 where it does not say it.

    Raises `FormatError` for what is no frame.
    """
    try:
        return zstandard.get_frame_parameters(stored).content_size
    except zstandard.ZstdError as error:
        raise FormatError(f"a zstd frame does not decode: {error}") from None


def decompress(stored: bytes, raw_length: int) -> bytes:
    """Return the `raw_length` bytes of a frame; raise `FormatError` for any other frame.

    The declared size is compared first, because the library allocates what the frame declares, whatever limit it gets.
    """
    try:
        parameters = zstandard.get_frame_parameters(stored)
        if parameters.content_size != raw_length or parameters.dict_id:
            raise FormatError(f"a zstd frame declares {parameters.content_size} bytes, expected {raw_length}")
        # The library checks the window only of frames that it does not decode in one go.
        if parameters.window_size > _WIDEST:
            raise FormatError(f"a zstd frame wants a window of {parameters.window_size} bytes, expected at most 2^27")
        # The library compares what came out with the declared size.
        return zstandard.ZstdDecompressor(max_window_size=_WIDEST).decompress(stored, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise FormatError(f"a zstd frame does not decode: {error}") from None


class Zstd:
    """Byte-oriented compression: what the residual and structured masks want."""

    id = 2
    name = "zstd"
    uses_lattice = False

    def __init__(self, levels: tuple[int, ...] = BEST) -> None:
        self._levels = levels

    def encode(self, raw: bytes, lattice: Lattice = ()) -> bytes | None:
        """Return the frame."""
        return compress(raw, self._levels) if raw else None

    def decode(self, stored: bytes, raw_length: int, lattice: Lattice = ()) -> bytes:
        """Return the frame's content."""
        return decompress(stored, raw_length)
