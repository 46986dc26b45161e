"""`gap`: the run of zeros before each one, a byte each, then Zstandard; inverted for masks with more ones."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pemn_formats.codecs.zstd import BEST, compress, declared, decompress
from pemn_formats.errors import FormatError
from pemn_formats.lattice import Lattice

__all__ = ["Gap", "GapInverted"]

_ESCAPE = 255
_MAGIC = b"\x28\xb5\x2f\xfd"
# Beyond this density the gaps take more bytes than the packed bits, whatever follows.
_DENSEST = 0.35
_RUNS_AT_ONCE = 1 << 17  # what is in memory besides the runs and the bits


class Gap:
    """Runs of zeros: byte 0 to 254 is a run before a one, 255 is 255 zeros and no one. Zeros at the end are left out.

    Stored: the run bytes as one zstd frame, which says how many they are, without the magic number that starts it.
    """

    id = 3
    name = "gap"
    uses_lattice = False

    def __init__(self, levels: tuple[int, ...] = BEST) -> None:
        self._levels = levels

    def encode(self, raw: bytes, lattice: Lattice = ()) -> bytes | None:
        """Return the coded runs, or None where the chunk is too dense to gain."""
        ones = np.flatnonzero(np.unpackbits(np.frombuffer(raw, np.uint8), bitorder="little"))
        if not ones.size or ones.size > _DENSEST * 8 * len(raw):
            return None
        runs = np.diff(ones, prepend=-1) - 1
        escapes = runs // _ESCAPE
        coded = np.full(int(escapes.sum()) + ones.size, _ESCAPE, dtype=np.uint8)
        coded[np.cumsum(escapes + 1) - 1] = runs % _ESCAPE
        return compress(coded.tobytes(), self._levels).removeprefix(_MAGIC)

    def decode(self, stored: bytes, raw_length: int, lattice: Lattice = ()) -> bytes:
        """Return the chunk with a one after each run."""
        runs = _runs(_MAGIC + stored, raw_length * 8)
        bits = np.zeros(raw_length * 8, dtype=np.uint8)
        end = 0
        for at in range(0, runs.size, _RUNS_AT_ONCE):
            part = runs[at : at + _RUNS_AT_ONCE]
            is_run = part != _ESCAPE
            ends = part.astype(np.int64)
            ends += is_run
            np.cumsum(ends, out=ends)
            ends += end
            end = int(ends[-1])
            if end > bits.size:
                raise FormatError(f"a gap chunk runs to bit {end} of {bits.size}")
            bits[ends[is_run] - 1] = 1
        return np.packbits(bits, bitorder="little").tobytes()


class GapInverted:
    """`gap` over the inverted bits, for masks with more ones than zeros."""

    id = 4
    name = "gap-inverted"
    uses_lattice = False

    def __init__(self, levels: tuple[int, ...] = BEST) -> None:
        self._gap = Gap(levels)

    def encode(self, raw: bytes, lattice: Lattice = ()) -> bytes | None:
        """Return the coded runs of ones."""
        return self._gap.encode(_invert(raw))

    def decode(self, stored: bytes, raw_length: int, lattice: Lattice = ()) -> bytes:
        """Return the chunk with a zero after each run."""
        return _invert(self._gap.decode(stored, raw_length))


def _runs(frame: bytes, bits: int) -> npt.NDArray[np.uint8]:
    count = declared(frame)
    if not 0 < count <= bits:
        raise FormatError(f"a gap chunk claims {count} runs for {bits} bits")
    runs = np.frombuffer(decompress(frame, count), np.uint8)
    if runs[-1] == _ESCAPE:
        raise FormatError("a gap chunk ends inside a run")
    return runs


def _invert(raw: bytes) -> bytes:
    return np.invert(np.frombuffer(raw, np.uint8)).tobytes()
