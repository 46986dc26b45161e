from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pemn_formats.errors import PemnError
from pemn_formats.fills import PERMUTATION_STREAM, SCORE_STREAM, feistel_keys, fill_index, half_bits, permute
from pemn_formats.limits import MAX_TENSORS
from pemn_formats.philox import words

SPANS = [*range(1, 20), 31, 32, 33, 63, 64, 65, 255, 256, 257, 1000, 1023, 1024, 1025, 4096, 4097, 16384, 16385, 65537]
# SHA-256 of 512 little-endian int64 places from `start`, seed 2022, stream 2^32 + 3. They never change.
GOLDEN = {
    (1000, 0): "fc543983ac66f2173cc69478e3c4ec47e004ee903224b3811c018a0ceb4152ce",
    (1 << 16, 5): "5f71d590f6c1a03db48d979af7eb3987111d57ec8a8c736c84c4fad2697c8b3e",
    ((1 << 40) + 1, 1 << 39): "12723b911603250b4f5671fa020bfa2c5905b6f6ba658740b8e7fa4bdffdf780",
    (1 << 62, (1 << 62) - 512): "5c6bcfc78d017c262b6c640eabd1b5e18520409cf93a57756e7afa98378189fb",
}


def murmur(value: int) -> int:
    """The 32-bit finaliser of MurmurHash3."""
    value = (value ^ value >> 16) * 0x85EBCA6B & 0xFFFFFFFF
    value = (value ^ value >> 13) * 0xC2B2AE35 & 0xFFFFFFFF
    return value ^ value >> 16


def by_hand(index: int, keys: list[int], span: int) -> int:
    """One element of the permutation in Python's integers."""
    half = half_bits(span)
    mask = (1 << half) - 1
    while True:
        left, right = index >> half, index & mask
        for key in keys:
            left, right = right, left ^ (murmur((right ^ key) & 0xFFFFFFFF) & mask)
        index = left << half | right
        if index < span:
            return index


@pytest.mark.parametrize("span", SPANS)
@pytest.mark.parametrize("seed", [0, (1 << 64) - 1])
def test_a_permutation_is_a_bijection(span: int, seed: int) -> None:
    found = permute(np.arange(span, dtype=np.int64), seed, PERMUTATION_STREAM, span)
    assert found.dtype == np.int64
    assert np.array_equal(np.sort(found), np.arange(span))


@given(st.integers(1, 1 << 62), st.integers(0, (1 << 64) - 1), st.data())
def test_a_permutation_is_the_network_by_hand(span: int, seed: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, span - 1))
    keys = words(seed, 5, 0, 6).tolist()
    assert keys == feistel_keys(seed, 5).tolist()
    assert permute(np.array([[index]], np.int64), seed, 5, span).tolist() == [[by_hand(index, keys, span)]]


@pytest.mark.parametrize(("span", "start"), GOLDEN)
def test_golden_hashes(span: int, start: int) -> None:
    found = permute(np.arange(start, start + 512, dtype=np.int64), 2022, PERMUTATION_STREAM + 3, span)
    assert hashlib.sha256(found.astype("<i8").tobytes()).hexdigest() == GOLDEN[span, start]


@pytest.mark.parametrize("span", [1, 2, 4, 5, 16, 17, 64, 65, 1 << 32, (1 << 32) + 1, 1 << 62])
def test_half_bits_are_the_fewest_that_hold_the_span(span: int) -> None:
    bits = half_bits(span)
    assert 4**bits >= span
    assert bits == 1 or 4 ** (bits - 1) < span


def test_seeds_and_streams_give_other_permutations() -> None:
    places = np.arange(100, dtype=np.int64)
    held = {permute(places, seed, stream, 100).tobytes() for seed in range(4) for stream in range(4)}
    assert len(held) == 16


@pytest.mark.parametrize("span", [0, -1, (1 << 62) + 1])
def test_a_span_out_of_range_is_refused(span: int) -> None:
    with pytest.raises(PemnError, match=rf"needs a span from 1 to 2\^62, found {span}$"):
        permute(np.zeros(1, np.int64), 0, 0, span)


@pytest.mark.parametrize("index", [[-1], [0, 10], [10]])
def test_an_index_out_of_range_is_refused(index: list[int]) -> None:
    with pytest.raises(PemnError, match=r"lies outside \[0, 10\)$"):
        permute(np.array(index, np.int64), 0, 0, 10)


def test_nothing_is_permuted_to_nothing() -> None:
    assert permute(np.empty((0, 2), np.int64), 0, 0, 10).shape == (0, 2)


@pytest.mark.parametrize("length", [1, 2, 7, 100, 101])
@pytest.mark.parametrize("span", [0, 100, 143])
def test_fills_take_the_values_in_order_or_in_the_permuted_order(length: int, span: int) -> None:
    place = np.arange(100, dtype=np.int64)
    expected = (permute(place, 1, PERMUTATION_STREAM, span) if span else place) % length
    found = fill_index(length, span, 1, PERMUTATION_STREAM, 0, 100)
    assert found.dtype == np.int64
    assert np.array_equal(found, expected)
    assert np.array_equal(fill_index(length, span, 1, PERMUTATION_STREAM, 17, 30), expected[17:47])
    assert fill_index(length, span, 1, PERMUTATION_STREAM, 99, 0).size == 0


def test_no_stream_serves_two_purposes() -> None:
    assert MAX_TENSORS < PERMUTATION_STREAM
    assert PERMUTATION_STREAM + MAX_TENSORS < SCORE_STREAM
