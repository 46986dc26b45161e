"""The compiled coder writes, reads and refuses what that of numpy does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pemn_formats import native
from pemn_formats.bits import pack
from pemn_formats.codecs.context import Context, lanes
from pemn_formats.codecs.rans import LEFT_OVER, OUT_OF_BYTES
from pemn_formats.content import Content, MaskedTensor, Prototype
from pemn_formats.errors import FormatError
from pemn_formats.lattice import Flat, Lattice, Matrix
from pemn_formats.reader import Reader, read
from pemn_formats.reconstruct import base
from pemn_formats.writer import content_id, encode

pytestmark = pytest.mark.usefixtures("loops")


def outcome(data: bytes, raw_length: int, lattice: Lattice) -> bytes | str:
    try:
        return Context().decode(data, raw_length, lattice)
    except FormatError as error:
        return str(error)


def signs(count: int, seed: int) -> Callable[[], npt.NDArray[np.int8]]:
    return lambda: np.random.default_rng(seed).choice(np.array([-1, 1], np.int8), count)


@st.composite
def masks(draw: st.DrawFn) -> tuple[Lattice, bytes]:
    """Parts one behind the other with gaps between them, ternary pairs among them, and bits for all of them."""
    rng = np.random.default_rng(draw(st.integers(0, 9)))
    parts: list[Flat | Matrix] = []
    known: list[npt.NDArray[np.bool_]] = []
    at = 0

    def add(part: Flat | Matrix, gap: int) -> npt.NDArray[np.bool_]:
        known.append(np.zeros(gap, np.bool_))
        parts.append(part)
        known.append(rng.random(part.count) < draw(st.sampled_from([0.02, 0.3, 0.5, 0.8, 1.0])))
        return known[-1]

    for _ in range(draw(st.integers(0, 4))):
        gap = draw(st.integers(0, 20))
        at += gap
        if draw(st.booleans()):
            part = Flat(at, draw(st.integers(1, 3000)), draw(st.booleans()))
            add(part, gap)
            at += part.count
            continue
        rows, channels = draw(st.integers(1, 40)), draw(st.integers(1, 12))
        height, width = draw(st.sampled_from([(1, 1), (1, 3), (3, 3), (2, 5)]))
        count = rows * channels * height * width
        matrix = Matrix(at, count, rows, channels, height, width, signs(count, at))
        if draw(st.booleans()):
            add(matrix, gap)
            at += count
            continue
        kept = int(add(replace(matrix, signs=None), gap).sum())
        add(replace(matrix, start=at + count, count=kept, among=at), 0)
        at += count + kept
    return tuple(parts), pack(np.concatenate([np.zeros(0, np.bool_), *known])).tobytes()


def test_many_lanes_and_counts_that_are_halved() -> None:
    """More bits than the masks below have: numpy decodes many lanes otherwise than few, and old counts fade."""
    rng = np.random.default_rng(5)
    lattice: Lattice = (
        Flat(3, 20_000),
        Flat(20_010, 600_001, alone=True),
        Matrix(620_011, 40_000, 500, 8, 2, 5, signs(40_000, 1)),
        Flat(680_011, 9_000),
        Flat(689_020, 30_000, alone=True),
    )
    assert lanes(lattice) > 32
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


@given(masks(), st.integers(0, 9), st.integers(0, 3))
@settings(deadline=None, max_examples=60)
def test_the_compiled_coder_is_that_of_numpy(drawn: tuple[Lattice, bytes], seed: int, damage: int) -> None:
    lattice, raw = drawn
    rng = np.random.default_rng(seed)
    stored = Context().encode(raw, lattice) or rng.bytes(32)
    broken = bytearray(stored)
    for at in rng.integers(0, len(broken), damage):
        broken[at] ^= 1 << rng.integers(0, 8)
    found = outcome(bytes(broken), len(raw), lattice), outcome(stored[:-2], len(raw), lattice)
    if lattice and not damage:
        assert found[0] == raw
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(native, "_LOOPS", None)
        assert (Context().encode(raw, lattice) or stored) == stored
        assert (outcome(bytes(broken), len(raw), lattice), outcome(stored[:-2], len(raw), lattice)) == found


def test_a_file_of_several_chunks_comes_back() -> None:
    rng = np.random.default_rng(0)
    shape = 1024, 500, 3, 3
    tensor = MaskedTensor("w", shape, 0, 0, "keep", np.float32(1.0))
    content = Content(0, (Prototype(int(np.prod(shape)), "signed"),), (tensor,))
    side = np.repeat(rng.choice((-1.0, 1.0), 1024 * 500), 9)
    bits = (base(content, tensor) == side) ^ (rng.random(side.size) < 0.1)
    content = replace(content, masked=(replace(tensor, planes=(pack(bits),)),))
    data = encode(content)
    with Reader.open(data) as reader:
        assert reader.codecs()["masks"] == {"context": 2}
        assert np.array_equal(reader.masked("w").planes[0], content.masked[0].planes[0])
    assert content_id(read(data)) == content_id(content)
