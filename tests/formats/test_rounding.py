from __future__ import annotations

import math
import struct
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pemn_formats.errors import PemnError
from pemn_formats.philox import words
from pemn_formats.rounding import OUTPUT_DTYPES, bfloat16_bits, bfloat16_to_float32, narrow

# Stored mantissa bits and exponent bits of the narrower types.
TYPES = {"float16": (10, 5), "bfloat16": (7, 8)}
narrower = pytest.mark.parametrize("dtype", TYPES)

EDGES = [0.0, -0.0, 1.0, -1.0, 65504.0, 65519.996, 65520.0, -65536.0, 3.3895314e38, 3.3961775e38, 3.4028235e38]
EDGES += [2.0**-14, 2.0**-15, 2.0**-24, 2.0**-25, 1.5 * 2.0**-25, 2.0**-26, 2.0**-126, 2.0**-127, 2.0**-133]
EDGES += [2.0**-134, 1.5 * 2.0**-134, 2.0**-149, 1 + 2.0**-11, 1 + 3 * 2.0**-11, 1 + 2.0**-8, 1 + 3 * 2.0**-8]


def by_hand(value: float, dtype: str) -> int:
    """The bits of the nearest value of a narrower type, ties to even, in exact rational arithmetic."""
    mantissa, exponent_bits = TYPES[dtype]
    bias = (1 << (exponent_bits - 1)) - 1
    sign = (math.copysign(1.0, value) < 0) << (mantissa + exponent_bits)
    infinity = ((1 << exponent_bits) - 1) << mantissa
    if math.isinf(value):
        return sign | infinity
    exact = abs(Fraction(value))
    # frexp gives m in [0.5, 1), so the exponent of the leading bit is one less; subnormals share the least exponent.
    exponent = max(math.frexp(float(exact))[1] - 1, 1 - bias) if exact else 1 - bias
    steps = round(exact / Fraction(2) ** (exponent - mantissa))  # Python rounds ties to even
    return sign | min(infinity, ((exponent + bias - 1) << mantissa) + steps)


def found(values: np.ndarray, dtype: str) -> list[int]:
    return [int(bits) for bits in narrow(values, dtype).view(np.uint16)]


@narrower
def test_edges_round_as_by_hand(dtype: str) -> None:
    values = np.array([*EDGES, math.inf, -math.inf], np.float32)
    assert found(values, dtype) == [by_hand(value, dtype) for value in values.tolist()]


@narrower
def test_random_bits_round_as_by_hand(dtype: str) -> None:
    values = words(1, 2, 0, 20_000).view(np.float32)
    values = values[~np.isnan(values)]
    assert found(values, dtype) == [by_hand(value, dtype) for value in values.tolist()]


@narrower
def test_every_value_and_both_sides_of_every_tie(dtype: str) -> None:
    mantissa, exponent_bits = TYPES[dtype]
    every = np.arange(((1 << exponent_bits) - 1) << mantissa, dtype=np.uint16)
    exact = bfloat16_to_float32(every) if dtype == "bfloat16" else every.view(np.float16).astype(np.float32)
    assert narrow(exact, dtype).view(np.uint16).tobytes() == every.tobytes()
    assert narrow(-exact, dtype).view(np.uint16).tobytes() == (every | 0x8000).tobytes()
    middle = (exact[:-1].astype(np.float64) + exact[1:]) / 2
    ties = middle.astype(np.float32)
    ties, lower = ties[ties == middle], every[:-1][ties == middle]  # below 2^-149 nothing lies between
    assert np.array_equal(narrow(ties, dtype).view(np.uint16), lower + lower % 2)
    assert np.array_equal(narrow(np.nextafter(ties, np.float32(0)), dtype).view(np.uint16), lower)
    assert np.array_equal(narrow(np.nextafter(ties, np.float32(np.inf)), dtype).view(np.uint16), lower + 1)


@given(st.integers(0, 1).flatmap(lambda s: st.integers(1, (1 << 23) - 1).map(lambda m: s << 31 | 0x7F800000 | m)))
def test_nan_stays_a_quiet_nan(bits: int) -> None:
    value = np.frombuffer(struct.pack("<I", bits), "<f4")
    assert bfloat16_bits(value).tolist() == [0x7FC0]
    assert np.isnan(narrow(value, "float16")).all()


def test_shapes_stay_and_float32_is_untouched() -> None:
    values = np.arange(6, dtype=np.float32).reshape(2, 3).T
    assert narrow(values, "float32") is values
    for dtype in OUTPUT_DTYPES:
        assert narrow(values, dtype).shape == (3, 2)
        assert narrow(values[:0], dtype).shape == (0, 2)
        assert narrow(np.float32(2.5).reshape(()), dtype).shape == ()
    assert bfloat16_to_float32(bfloat16_bits(values)).tolist() == values.tolist()


def test_an_unknown_dtype_is_refused() -> None:
    with pytest.raises(PemnError, match=r"^unknown output dtype 'float8'; known: float32, float16, bfloat16$"):
        narrow(np.zeros(1, np.float32), "float8")
