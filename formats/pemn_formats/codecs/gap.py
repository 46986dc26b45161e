"""`gap`: the runs of zeros before each one as bytes, then Zstandard; inverted for masks with more ones."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pemn_formats.codecs.zstd import BEST, compress, declared, decompress
from pemn_formats.errors import FormatError
from pemn_formats.lattice import Lattice
from pemn_formats.native import compiled

__all__ = ["Gap", "GapInverted"]

_MOST = 255  # what a byte can say of a run
_RAREST = 7  # escapes rarer than 2^-7 gain nothing more
_MAGIC = b"\x28\xb5\x2f\xfd"
# Beyond this density the gaps take more bytes than the packed bits, whatever follows.
_DENSEST = 0.35
_RUNS_AT_ONCE = 1 << 17  # what is in memory besides the runs and the bits


class Gap:
    """Runs of zeros: a byte below the escape e is a run before a one, e is e zeros and no one.

    Zeros at the end are left out. Stored: e, then the run bytes as one zstd frame, which says how many they are,
    without the magic number that starts it. Zstandard gives each byte a whole number of bits; so e is chosen where an
    escape needs a whole number too (Golomb, "Run-length encodings", 1966). At e = 255 it takes up to twice as many over
    Shannon.
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
        return min((self._coded(runs, escape) for escape in _escapes(ones.size, 8 * len(raw))), key=len)

    def _coded(self, runs: npt.NDArray[np.int64], escape: int) -> bytes:
        escapes = runs // escape
        coded = np.full(int(escapes.sum()) + runs.size, escape, dtype=np.uint8)
        coded[np.cumsum(escapes + 1) - 1] = runs % escape
        return bytes([escape]) + compress(coded.tobytes(), self._levels).removeprefix(_MAGIC)

    def decode(self, stored: bytes, raw_length: int, lattice: Lattice = ()) -> bytes:
        """Return the chunk with a one after each run."""
        escape, runs = _runs(stored, raw_length * 8)
        loops = compiled()
        if loops is not None:
            packed = np.zeros(raw_length, dtype=np.uint8)
            _check_end(loops.lay_runs(packed, runs, escape), 8 * raw_length)
            return packed.tobytes()
        bits = np.zeros(raw_length * 8, dtype=np.uint8)
        end = 0
        for at in range(0, runs.size, _RUNS_AT_ONCE):
            part = runs[at : at + _RUNS_AT_ONCE]
            is_run = part != escape
            ends = part.astype(np.int64)
            ends += is_run
            np.cumsum(ends, out=ends)
            ends += end
            end = int(ends[-1])
            _check_end(end, bits.size)
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


def _escapes(ones: int, bits: int) -> list[int]:
    """The escapes to try: what runs reach with a chance of 2^-7; where a byte cannot say that, 2^-1, 2^-2 and so on."""
    # In integers, because one mask is to give the same bytes on every machine.
    chance, zero = 1 << 32, (bits - ones << 32) // bits
    found: list[int] = []
    for escape in range(1, _MOST + 1):
        chance = chance * zero >> 32
        if chance <= 1 << 31 - len(found):
            found.append(escape)
        if len(found) == _RAREST:
            return found[-1:]
    return found or [_MOST]


def _runs(stored: bytes, bits: int) -> tuple[int, npt.NDArray[np.uint8]]:
    if not stored or not stored[0]:
        raise FormatError("a gap chunk has no escape")
    escape, frame = stored[0], _MAGIC + stored[1:]
    count = declared(frame)
    if not 0 < count <= bits:
        raise FormatError(f"a gap chunk claims {count} runs for {bits} bits")
    runs = np.frombuffer(decompress(frame, count), np.uint8)
    if runs.max() > escape:
        raise FormatError(f"a gap chunk has a run byte of {runs.max()} above its escape, {escape}")
    if runs[-1] == escape:
        raise FormatError("a gap chunk ends inside a run")
    return escape, runs


def _check_end(end: int, bits: int) -> None:
    if end > bits:
        raise FormatError(f"a gap chunk runs beyond its {bits} bits")


def _invert(raw: bytes) -> bytes:
    return np.invert(np.frombuffer(raw, np.uint8)).tobytes()
