"""The compiled coder writes, reads and refuses what that of numpy does."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pemn_formats import native
from pemn_formats.bits import pack
from pemn_formats.codecs.context import Context, lanes
from pemn_formats.codecs.rans import LEFT_OVER, OUT_OF_BYTES
from pemn_formats.errors import FormatError
from pemn_formats.lattice import Flat, Lattice, Windows

pytestmark = pytest.mark.usefixtures("loops")


def outcome(data: bytes, raw_length: int, lattice: Lattice) -> bytes | str:
    try:
        return Context().decode(data, raw_length, lattice)
    except FormatError as error:
        return str(error)


@st.composite
def lattices(draw: st.DrawFn) -> tuple[Lattice, int]:
    """Parts one behind the other with gaps between them, and the bytes of a chunk that holds them."""
    parts: list[Flat | Windows] = []
    at = 0
    for _ in range(draw(st.integers(0, 6))):
        at += draw(st.integers(0, 20))
        if draw(st.booleans()):
            parts.append(Flat(at, draw(st.integers(1, 3000)), draw(st.booleans())))
        else:
            rows, height, width = draw(st.integers(1, 1500)), draw(st.integers(1, 4)), draw(st.integers(1, 4))
            signs = np.random.default_rng(at).choice(np.array([-1, 1], np.int8), rows * height * width)
            parts.append(Windows(at, rows, height, width, draw(st.booleans()), lambda signs=signs: signs))
        at += parts[-1].count
    return tuple(parts), -(-at // 8)


def test_many_lanes_and_counts_that_are_halved() -> None:
    """More bits than the lattices below have: numpy decodes many lanes otherwise than few, and old counts fade."""
    rng = np.random.default_rng(5)
    signs = rng.choice(np.array([-1, 1], np.int8), 600_000)
    lattice: Lattice = (
        Flat(3, 20_000),
        Flat(20_010, 60_001, alone=True),
        Windows(80_011, 40_000, 3, 5, True, lambda: signs),
        Flat(680_011, 9_000),
        Flat(689_020, 30_000, alone=True),
    )
    assert lanes(sum(part.count for part in lattice)) > 32
    known = np.zeros(8 * 90_000, np.uint8)
    for at, part in enumerate(lattice):
        known[part.start : part.start + part.count] = rng.random(part.count) < 0.1 + 0.15 * at
    raw = pack(known).tobytes()
    stored = Context().encode(raw, lattice)
    assert stored is not None
    short, long = stored[:-2], stored + b"00"
    assert [outcome(data, len(raw), lattice) for data in (stored, short, long)] == [raw, OUT_OF_BYTES, LEFT_OVER]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(native, "_LOOPS", None)
        assert Context().encode(raw, lattice) == stored
        assert [outcome(data, len(raw), lattice) for data in (stored, short, long)] == [raw, OUT_OF_BYTES, LEFT_OVER]


@given(lattices(), st.integers(0, 9), st.floats(0, 1), st.integers(0, 3))
def test_the_compiled_coder_is_that_of_numpy(
    drawn: tuple[Lattice, int], seed: int, density: float, damage: int
) -> None:
    lattice, raw_length = drawn
    known = np.zeros(8 * raw_length, np.uint8)
    rng = np.random.default_rng(seed)
    for part in lattice:
        known[part.start : part.start + part.count] = rng.random(part.count) < density
    raw = pack(known).tobytes()
    stored = Context().encode(raw, lattice) or bytes(rng.integers(0, 256, 32, dtype=np.uint8))
    broken = bytearray(stored)
    for at in rng.integers(0, len(broken), damage):
        broken[at] ^= 1 << rng.integers(0, 8)
    found = outcome(bytes(broken), raw_length, lattice), outcome(stored[:-2], raw_length, lattice)
    if lattice and not damage:
        assert found[0] == raw
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(native, "_LOOPS", None)
        assert (Context().encode(raw, lattice) or stored) == stored
        assert (outcome(bytes(broken), raw_length, lattice), outcome(stored[:-2], raw_length, lattice)) == found
