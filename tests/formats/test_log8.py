"""The eight-bit logarithmic format: its table from integers alone, golden bytes, an independent decoder, bad bytes."""

from __future__ import annotations

import math
import struct
from dataclasses import replace

import numpy as np
import pytest
from forge import Forge
from hypothesis import given
from hypothesis import strategies as st
from samples import one_tensor
from two_readers import read

from pemn_formats import log8
from pemn_formats.content import Content, ResidualTensor
from pemn_formats.errors import FormatError, PemnError
from pemn_formats.log8_table import LOG8_TABLE
from pemn_formats.reader import Reader
from pemn_formats.reconstruct import float_values, residual_state
from pemn_formats.writer import content_id, encode

floats = st.floats(width=32, allow_nan=False, allow_infinity=False)

# Values, stored bytes (range, shift, codes) and decoded values, worked out by hand. The second value of the second row
# lies 3.1 sixty-fourths of an octave below 3, and goes to step 4.
GOLDEN = [
    (
        [1.0, -0.5, 0.25, 0.0, 0.9576032757759094, 1e-30],
        "0000803f017fdf3f007d00",
        ["0x1p+0", "-0x1p-1", "0x1p-2", "0x0p+0", "0x1.ea4afap-1", "0x0p+0"],
    ),
    (
        [3.0, -2.9, 1.1, 0.013],
        "00004040027ffe6801",
        ["0x1.8p+1", "-0x1.6fb83cp+1", "0x1.1b8cf6p+0", "0x1.a2c146p-7"],
    ),
]


def slow_decode(stored: bytes, vectors: int) -> list[float]:
    """The specification in Python's own arithmetic: doubles hold every product of two float32 exactly."""
    columns = (len(stored) - 5 * vectors) // vectors
    out = []
    for row in range(vectors):
        (hi,) = struct.unpack_from("<f", stored, 4 * row)
        shift = stored[4 * vectors + row]
        for code in stored[5 * vectors + row * columns : 5 * vectors + (row + 1) * columns]:
            level = code % 128
            step = (127 - level) << shift
            factor = float(LOG8_TABLE[step % 64]) * 2.0 ** -(step // 64)
            (value,) = struct.unpack("<f", struct.pack("<f", factor * hi)) if level else (0.0,)
            out.append(-value if code >= 128 else value)
    return out


def test_the_table_holds_the_nearest_24_bit_fractions() -> None:
    for j, entry in enumerate(LOG8_TABLE):
        integer = int(float(entry) * 2**24)
        # integer is nearest to 2^(24 - j / 64) if its neighbours' midpoints, to the 64th power, lie on both sides.
        assert (2 * integer - 1) ** 64 < 2 ** (25 * 64 - j) < (2 * integer + 1) ** 64
        assert float(entry) == integer * 2.0**-24
    assert LOG8_TABLE.dtype == np.float32
    assert LOG8_TABLE.size == 64


@pytest.mark.parametrize(("values", "stored", "decoded"), GOLDEN)
def test_golden_bytes(values: list[float], stored: str, decoded: list[str]) -> None:
    found = log8.encode(np.array([values], np.float32))
    assert found.tobytes().hex() == stored
    assert [float(each) for each in log8.decode(found, 1)[0]] == [float.fromhex(each) for each in decoded]


def test_two_vectors_stand_as_ranges_shifts_codes() -> None:
    stored = log8.encode(np.array([[3.0, -3.0], [0.0, 0.0]], np.float32))
    assert stored.tobytes() == struct.pack("<ff", 3.0, 1.0) + bytes([0, 0, 127, 255, 0, 0])


@pytest.mark.parametrize("shift", range(log8.MAX_SHIFT + 1))
@pytest.mark.parametrize("hi", [log8.LEAST_RANGE, np.float32(0.3), np.finfo(np.float32).max])
def test_levels_rise_evenly_and_are_normal_numbers(shift: int, hi: np.float32) -> None:
    levels = log8.levels(hi, shift)
    assert levels.dtype == np.float32
    assert levels[0] == 0
    assert levels[127] == hi
    assert (np.diff(levels) > 0).all()
    assert levels[1] >= np.finfo(np.float32).tiny
    steps = np.diff(np.log2(levels[1:].astype(np.float64)))
    np.testing.assert_allclose(steps, 2.0**shift / 64, atol=4e-7)


@given(st.lists(floats, min_size=1, max_size=40), st.integers(1, 2))
def test_decoding_is_the_specification_and_settles(values: list[float], vectors: int) -> None:
    rows = np.array([values] * vectors, np.float32)
    stored = log8.encode(rows)
    assert stored.size == log8.stored_bytes(vectors, rows.size)
    log8.check(stored, vectors, "x")
    decoded = log8.decode(stored, vectors)
    assert decoded.reshape(-1).tobytes() == np.array(slow_decode(stored.tobytes(), vectors), np.float32).tobytes()
    assert log8.decode(log8.encode(decoded), vectors).tobytes() == decoded.tobytes()


@given(st.lists(floats, min_size=1, max_size=40))
def test_every_value_goes_to_the_nearest_level(values: list[float]) -> None:
    stored = log8.encode(np.array([values], np.float32))
    decoded = log8.decode(stored, 1)[0].astype(np.float64)
    (hi,) = struct.unpack_from("<f", stored.tobytes())
    if max(map(abs, values)) < log8.LEAST_RANGE:
        assert not decoded.any()
        return
    assert hi == max(map(abs, values))
    levels = log8.levels(np.float32(hi), int(stored[4])).astype(np.float64)
    for value, found in zip(values, decoded, strict=True):
        assert abs(found - value) == np.abs(levels - abs(value)).min()
        assert found == 0 or math.copysign(1, found) == math.copysign(1, value)


@given(st.binary(min_size=0, max_size=30), st.integers(0, 5), st.floats(2.0**-62, 2.0**127, width=32))
def test_every_accepted_byte_string_is_one_content(codes: bytes, shift: int, hi: float) -> None:
    stored = np.frombuffer(struct.pack("<fB", hi, shift) + codes.replace(b"\x80", b"\0"), np.uint8)
    content = holding(stored, len(codes))
    again = read(encode(content))
    assert content_id(again) == content_id(content)
    assert again.residual[0].values.tobytes() == stored.tobytes()
    assert residual_state(again)["r"].shape == (len(codes),)


def test_the_range_of_a_normal_vector_is_covered() -> None:
    """Values of a bell curve lose about a hundredth; of those that spread over 12 octaves none is dropped."""
    rng = np.random.default_rng(0)
    bell = rng.standard_normal((1, 4096)).astype(np.float32)
    found = log8.decode(log8.encode(bell), 1)
    assert np.sqrt(((found - bell) ** 2).mean() / (bell**2).mean()) < 0.016
    wide = np.exp2(rng.uniform(-12, 0, (1, 512))).astype(np.float32)
    assert np.abs(log8.decode(log8.encode(wide), 1) / wide - 1).max() < 0.05


def test_values_beyond_float32_are_refused() -> None:
    for value in (math.nan, math.inf, 1e39):
        with pytest.raises(PemnError, match="log8 takes finite float32 values only"):
            log8.encode(np.array([[value, 1.0]]))


def holding(stored: np.ndarray, count: int, **changes: object) -> Content:
    entry = replace(ResidualTensor("r", (count,), "dense", "log8", None, stored), **changes)
    return replace(one_tensor(), residual=(entry,))


@pytest.mark.parametrize(
    ("stored", "message"),
    [
        (struct.pack("<fBB", math.nan, 0, 1), "'r' has the log8 range nan, expected a finite number of at least 2"),
        (struct.pack("<fBB", math.inf, 0, 1), "log8 range inf"),
        (struct.pack("<fBB", 0.0, 0, 0), "log8 range 0.0"),
        (struct.pack("<fBB", -1.0, 0, 1), "log8 range -1.0"),
        (struct.pack("<fBB", 2.0**-63, 0, 1), "log8 range 1.08"),
        (struct.pack("<fBB", 1e-40, 0, 1), "log8 range"),
        (struct.pack("<fBB", 1.0, 6, 1), "'r' has the log8 shift 6, expected at most 5"),
        (struct.pack("<fBB", 1.0, 0, 128), "'r' has a log8 code for a negative zero"),
    ],
)
def test_bytes_that_no_writer_writes_are_refused(stored: bytes, message: str) -> None:
    forged = Forge.of(encode(holding(np.frombuffer(struct.pack("<fBB", 1.0, 0, 1), np.uint8), 1)))
    forged.sections[2][0].codec = 0
    forged.sections[2][0].data = stored
    with pytest.raises(FormatError, match=message):
        read(forged.build())
    with Reader.open(forged.build()) as reader, pytest.raises(FormatError, match=message):
        reader.residual("r")
    with pytest.raises(PemnError, match=message):
        encode(holding(np.frombuffer(stored, np.uint8), 1))


def test_a_shape_that_asks_for_other_bytes_is_refused() -> None:
    forged = Forge.of(encode(holding(np.frombuffer(struct.pack("<fBB", 1.0, 0, 1), np.uint8), 1)))
    forged.manifest["residual"]["shapes"] = [[2]]
    with pytest.raises(FormatError, match="a raw chunk holds 6 bytes, expected 7"):
        read(forged.build())


def test_values_of_another_length_are_refused() -> None:
    with pytest.raises(PemnError, match="r must hold 6 values of uint8, found 1 of float32"):
        encode(holding(np.zeros(1, np.float32), 1))


def test_every_kind_can_hold_it() -> None:
    rows = np.array([[0.5, 1.5, -2.0], [1.0, 0.0, -0.25]], np.float32)
    scale = np.array([[0.5, 0.25]], np.float32)
    base = one_tensor()
    tensor = replace(base.masked[0], shape=(2, 12), scale=None)
    content = replace(
        base,
        masked=(tensor,),
        residual=(
            ResidualTensor("bn", (2, 3), "bn", "log8", np.float32(1e-5), log8.encode(rows)),
            ResidualTensor("w", (2,), "scale", "log8", None, log8.encode(scale)),
            ResidualTensor("none", (0,), "dense", "log8", None, log8.encode(np.zeros((1, 0), np.float32))),
        ),
    )
    with Reader.open(encode(content)) as reader:
        ledger, found = reader.ledger(), reader.content()
    assert ledger.residual_by_kind == {"batch norm": 6 + 10, "channel scales": 2 + 5, "other": 5}
    assert ledger.dense_float32 == 4 * (24 + 4 * 3) + 8
    np.testing.assert_allclose(float_values(found.residual[0]), rows, rtol=0.05)
    assert float_values(found.residual[1]).tobytes() == scale[0].tobytes()
    assert residual_state(found)["none"].size == 0
