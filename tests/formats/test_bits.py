from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pemn_formats.bits import hamming_distance, pack, pad_is_zero, popcount, unpack

bit_lists = st.lists(st.integers(0, 1), max_size=70)


@given(bit_lists)
def test_bits_are_packed_least_significant_first_with_zero_padding(bits: list[int]) -> None:
    packed = pack(np.array(bits, np.uint8))
    expected = sum(bit << at for at, bit in enumerate(bits)).to_bytes((len(bits) + 7) // 8, "little")
    assert packed.dtype == np.uint8
    assert packed.tobytes() == expected
    assert unpack(packed, len(bits)).tolist() == bits
    assert popcount(packed) == popcount(packed.tobytes()) == sum(bits)
    assert pad_is_zero(packed, len(bits))


@pytest.mark.parametrize("dtype", [np.uint8, np.bool_, np.int8, np.int64])
def test_any_array_of_zeros_and_ones_is_packed_in_c_order(dtype: type) -> None:
    bits = np.array([[1, 0, 0, 1, 1], [0, 1, 0, 0, 1]], dtype)
    assert pack(bits).tolist() == [0b01011001, 0b10]
    assert pack(bits.T).tolist() == [0b01001001, 0b11]


@given(st.integers(0, 70).flatmap(lambda n: st.tuples(*[st.lists(st.integers(0, 1), min_size=n, max_size=n)] * 2)))
def test_the_distance_counts_places_that_differ(pair: tuple[list[int], list[int]]) -> None:
    left, right = (pack(np.array(each, np.uint8)) for each in pair)
    assert hamming_distance(left, right) == sum(a != b for a, b in zip(*pair, strict=True))


def test_counts_do_not_need_contiguous_bytes() -> None:
    packed = np.array([0b111, 255, 0b1, 255], np.uint8)[::2]
    assert popcount(packed) == 4
    assert hamming_distance(packed, np.zeros(2, np.uint8)) == 4


@pytest.mark.parametrize("count", range(9, 17))
def test_pad_bits_are_seen(count: int) -> None:
    used = (1 << (count - 8)) - 1
    assert pad_is_zero(np.array([255, used], np.uint8), count)
    for bit in range(count - 8, 8):
        assert not pad_is_zero(np.array([255, used | 1 << bit], np.uint8), count)


def test_no_bits_have_no_padding() -> None:
    assert pad_is_zero(np.empty(0, np.uint8), 0)
