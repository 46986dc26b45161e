"""`gap`: the run of zeros before each one, a byte each, then Zstandard; inverted for masks with more ones."""

from __future__ import annotations

import struct

import numpy as np
import numpy.typing as npt

from pemn_formats.codecs.zstd import compress, decompress
from pemn_formats.errors import FormatError
from pemn_formats.lattice import Lattice

__all__ = ["Gap", "GapInverted"]

_ESCAPE = 255
_HEAD = struct.Struct("<I")
# Beyond this density the gaps take more bytes than the packed bits, whatever follows.
_DENSEST = 0.35


class Gap:
    """Runs of zeros: byte 0 to 254 is a run before a one, 255 is 255 zeros and no one. Zeros at the end are left out.

    Stored: the number of run bytes (uint32), then the run bytes as one zstd frame.
    """

    id = 3
    name = "gap"
    uses_lattice = False

    def encode(self, raw: bytes, lattice: Lattice = ()) -> bytes | None:
        """Return the coded runs, or None where the chunk is too dense to gain."""
        ones = np.flatnonzero(np.unpackbits(np.frombuffer(raw, np.uint8), bitorder="little"))
        if not ones.size or ones.size > _DENSEST * 8 * len(raw):
            return None
        runs = np.diff(ones, prepend=-1) - 1
        escapes = runs // _ESCAPE
        coded = np.full(int(escapes.sum()) + ones.size, _ESCAPE, dtype=np.uint8)
        coded[np.cumsum(escapes + 1) - 1] = runs % _ESCAPE
        return _HEAD.pack(coded.size) + compress(coded.tobytes())

    def decode(self, stored: bytes, raw_length: int, lattice: Lattice = ()) -> bytes:
        """Return the chunk with a one after each run."""
        ones = _positions(stored, raw_length * 8)
        bits = np.zeros(raw_length * 8, dtype=np.uint8)
        bits[ones] = 1
        return np.packbits(bits, bitorder="little").tobytes()


class GapInverted:
    """`gap` over the inverted bits, for masks with more ones than zeros."""

    id = 4
    name = "gap-inverted"
    uses_lattice = False

    def encode(self, raw: bytes, lattice: Lattice = ()) -> bytes | None:
        """Return the coded runs of ones."""
        return Gap().encode(_invert(raw))

    def decode(self, stored: bytes, raw_length: int, lattice: Lattice = ()) -> bytes:
        """Return the chunk with a zero after each run."""
        return _invert(Gap().decode(stored, raw_length))


def _positions(stored: bytes, bits: int) -> npt.NDArray[np.int64]:
    if len(stored) < _HEAD.size:
        raise FormatError(f"a gap chunk holds {len(stored)} bytes, expected at least {_HEAD.size}")
    (count,) = _HEAD.unpack_from(stored)
    if not 0 < count <= bits:
        raise FormatError(f"a gap chunk claims {count} runs for {bits} bits")
    coded = np.frombuffer(decompress(stored[_HEAD.size :], count), np.uint8)
    if coded[-1] == _ESCAPE:
        raise FormatError("a gap chunk ends inside a run")
    ends = np.cumsum(np.where(coded == _ESCAPE, _ESCAPE, coded.astype(np.int64) + 1))
    if ends[-1] > bits:
        raise FormatError(f"a gap chunk runs to bit {int(ends[-1])} of {bits}")
    positions: npt.NDArray[np.int64] = ends[coded != _ESCAPE] - 1
    return positions


def _invert(raw: bytes) -> bytes:
    return np.invert(np.frombuffer(raw, np.uint8)).tobytes()
