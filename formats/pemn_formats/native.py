"""The compiled loops of `csrc`, where they were built; where not, numpy does the same work, to the bit."""

from __future__ import annotations

import os
from importlib import import_module
from typing import Any, Protocol, cast

import numpy as np
import numpy.typing as npt

__all__ = ["Loops", "compiled"]

Bits = npt.NDArray[np.uint8]


class Loops(Protocol):
    """What is compiled. All arrays are contiguous; wrong sizes raise `ValueError`."""

    def words(self, out: npt.NDArray[np.uint32], first: int, stream: int, seed: int, /) -> None:
        """Fill `out` with whole blocks of four words of a stream from block `first` on."""

    def permuted(
        self, out: npt.NDArray[Any], vector: npt.NDArray[Any], keys: npt.NDArray[np.uint32], first: int, span: int, /
    ) -> None:
        """Fill `out` with `vector[fill_index(...)]` for places from `first` on; `keys` are `feistel_keys`."""

    def select(
        self, out: npt.NDArray[Any], kept: Bits | None, flipped: Bits | None, values: npt.NDArray[Any], /
    ) -> None:
        """Do what `bit_rows.RowSelect` does."""

    def deposit(self, out: Bits, mask: Bits, packed: Bits, first: int, /) -> None:
        """Write to `out` what `deposit.deposit` returns."""

    def lay_runs(self, raw: Bits, runs: Bits, escape: int, /) -> int:
        """Set in `raw`, all zeros, the bits that `codecs.gap` decodes; return where the last run ends.

        Where one goes beyond `raw`, nothing is written from there on, and the result is greater than its bits.
        """

    def context_encode(
        self, raw: bytes, parts: npt.NDArray[np.int64], signs: npt.NDArray[np.int8], lanes: int, /
    ) -> bytes:
        """Return what `codecs.context` stores for a chunk.

        A part is a row of kind (0 shared, 1 alone, 2 matrix), start, count, rows, channels, height, width, whether it
        has signs, and the place of the plane that it is among, or -1; `signs` are those of all matrices that have them,
        one behind the other.
        """

    def context_decode(
        self, raw: Bits, parts: npt.NDArray[np.int64], signs: npt.NDArray[np.int8], lanes: int, stored: bytes, /
    ) -> int:
        """Decode into `raw`, all zeros.

        Return 0, or 1 if the stored bytes run out, 2 if some are left over, 4 if a ternary mask's planes disagree.
        """

    # Addresses below are those of float32, so many in a row as the row says, which nobody frees or moves meanwhile: the
    # caller answers for it, as no loop can tell. To make arrays of many small tensors would take longer than the loops.

    def choose(self, rows: tuple[float, ...], /) -> None:
        """Write the weights that scores choose of values; rows of out, score, value, count, rule and margin.

        Rules 0 and 1 are `keep` and `sign` by the score's sign; 2, 3 and 4 are `keep`, `sign` and `ternary` by its
        magnitude, which the margin, not negative, parts.
        """

    def carry(self, rows: tuple[int, ...], /) -> None:
        """Write value * grad * the sign of the score; rows of out, grad, value, score and count."""

    def margin(self, rows: tuple[int, ...], kept: int, /) -> float | None:
        """Return what exactly the `kept` largest magnitudes of all exceed, or None; rows of score and count.

        There is none where equals lie on both sides of the cut, nor is one told where zeros are kept or the least of
        what is kept is no number.
        """

    def margins(self, rows: tuple[int, ...], kept: tuple[int, ...], /) -> tuple[float | None, ...]:
        """Return `margin` of each row by itself."""


_REVISION = 6
"""Of the functions and their arguments, here and in `csrc/module.c`: raised together when either changes."""


def _load() -> Loops | None:
    if os.environ.get("PEMN_NATIVE") == "0":
        return None
    try:
        found = import_module("pemn_formats._native")
    except ImportError:
        return None
    # A checkout may hold what was built from older sources.
    return cast(Loops, found) if getattr(found, "REVISION", 0) == _REVISION else None


_LOOPS = _load()


def compiled() -> Loops | None:
    """Return the compiled loops, or None where there are none or the environment says `PEMN_NATIVE=0`."""
    return _LOOPS
