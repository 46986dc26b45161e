"""Differences of values: every pair comes back, small changes become small bytes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pemn_formats.content import DTYPES
from pemn_formats.differences import difference, from_difference

NUMBERS = [name for name in DTYPES if name != "bool"]


@given(st.sampled_from(NUMBERS), st.data())
def test_every_pair_comes_back(dtype: str, data: st.DataObject) -> None:
    size = DTYPES[dtype].itemsize * data.draw(st.integers(0, 5))
    old, new = data.draw(st.binary(min_size=size, max_size=size)), data.draw(st.binary(min_size=size, max_size=size))
    assert from_difference(old, difference(old, new, dtype), dtype) == new
    assert len(difference(old, new, dtype)) == size


@given(st.sampled_from(NUMBERS), st.data())
def test_every_byte_string_is_a_difference(dtype: str, data: st.DataObject) -> None:
    size = DTYPES[dtype].itemsize * 3
    old, change = (data.draw(st.binary(min_size=size, max_size=size)) for _ in range(2))
    assert difference(old, from_difference(old, change, dtype), dtype) == change


@pytest.mark.parametrize("dtype", NUMBERS)
def test_equal_values_differ_by_zeros(dtype: str) -> None:
    values = np.arange(-3, 4).astype(DTYPES[dtype]).tobytes()
    assert difference(values, values, dtype) == bytes(len(values))


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16"])
def test_the_next_number_is_two_and_the_one_before_is_one(dtype: str) -> None:
    """Steps up are even and steps down odd, across powers of two and across zero (whose two signs are neighbours)."""
    numpy = DTYPES[dtype]
    start = np.array([1.0, 2.0, -1.0, 1.5, np.finfo(numpy).tiny], numpy)
    up = difference(start.tobytes(), np.nextafter(start, numpy.type(np.inf)).tobytes(), dtype)
    down = difference(start.tobytes(), np.nextafter(start, numpy.type(-np.inf)).tobytes(), dtype)
    assert up == bytes([2] * 5) + bytes(len(up) - 5)
    assert down == bytes([1] * 5) + bytes(len(down) - 5)
    zeros = np.array([0.0, -0.0], numpy)
    assert difference(zeros.tobytes(), (-zeros).tobytes(), dtype)[:2] == bytes([1, 2])


def test_bfloat16_is_held_as_its_bits() -> None:
    assert difference(b"\x80\x3f", b"\x81\x3f", "bfloat16") == b"\x02\x00"
    assert difference(b"\x80\xbf", b"\x81\xbf", "bfloat16") == b"\x01\x00"


@pytest.mark.parametrize(
    ("old", "new", "coded"), [(0, 1, 2), (0, -1, 1), (127, -128, 2), (-128, 127, 1), (5, -59, 127)]
)
def test_integers_wrap_around(old: int, new: int, coded: int) -> None:
    assert difference(bytes([old & 255]), bytes([new & 255]), "int8") == bytes([coded])


def test_low_bytes_stand_before_high_bytes() -> None:
    old = np.zeros(3, "<i4").tobytes()
    new = np.array([1, 128, 1 << 20], "<i4").tobytes()
    assert difference(old, new, "int32") == bytes([2, 0, 0, 0, 1, 0, 0, 0, 32, 0, 0, 0])
