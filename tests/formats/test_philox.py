from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pemn_formats.errors import PemnError
from pemn_formats.philox import SEED_LIMIT, check_seed, philox4x32, words

# Random123, tests/kat_vectors, philox4x32 with 10 rounds: counter, key, result.
KNOWN_ANSWERS = [
    ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
]
SEEDS = [0, 1, 0xFFFFFFFF, 1 << 32, 0x9E3779B97F4A7C15, SEED_LIMIT - 1]


def hexes(text: str) -> list[int]:
    return [int(word, 16) for word in text.split()]


def by_hand(counter: list[int], key: list[int]) -> list[int]:
    """The ten rounds in Python's integers, as figure 2 of the paper draws them."""
    (a, b, c, d), (k0, k1) = counter, key
    for _ in range(10):
        left, right = 0xD2511F53 * a, 0xCD9E8D57 * c
        a, b, c, d = (right >> 32) ^ b ^ k0, right & 0xFFFFFFFF, (left >> 32) ^ d ^ k1, left & 0xFFFFFFFF
        k0, k1 = (k0 + 0x9E3779B9) & 0xFFFFFFFF, (k1 + 0xBB67AE85) & 0xFFFFFFFF
    return [a, b, c, d]


@pytest.mark.parametrize(("counter", "key", "answer"), KNOWN_ANSWERS)
def test_known_answers_of_random123(counter: str, key: str, answer: str) -> None:
    k0, k1 = hexes(key)
    found = philox4x32(np.array([hexes(counter)], np.uint32), (k0, k1))
    assert found.dtype == np.uint32
    assert found.tolist() == [hexes(answer)]
    c0, c1, c2, c3 = hexes(counter)
    block, stream = c0 | c1 << 32, c2 | c3 << 32
    if block * 4 + 4 <= SEED_LIMIT * 4:
        assert words(k0 | k1 << 32, stream, block * 4, 4).tolist() == hexes(answer)


def test_the_last_known_answer_stands_at_the_end_of_the_last_stream() -> None:
    last = SEED_LIMIT - 1
    assert words(last, last, 4 * last, 4).tolist() == hexes(KNOWN_ANSWERS[1][2])
    assert words(last, last, 4 * last + 4, 0).size == 0


@given(st.lists(st.integers(0, SEED_LIMIT - 1), min_size=3, max_size=3), st.integers(0, 3))
def test_words_are_the_generator_by_hand(drawn: list[int], lane: int) -> None:
    seed, stream, block = drawn
    counter = [block & 0xFFFFFFFF, block >> 32, stream & 0xFFFFFFFF, stream >> 32]
    expected = by_hand(counter, [seed & 0xFFFFFFFF, seed >> 32])[lane]
    assert words(seed, stream, 4 * block + lane, 1).tolist() == [expected]


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("start", "count"), [(0, 0), (0, 1), (1, 2), (3, 1), (3, 130), (4, 4), (131071, 131080)])
def test_a_slice_is_part_of_the_whole(seed: int, start: int, count: int) -> None:
    whole = words(seed, 3, 0, start + count + 5)
    part = words(seed, 3, start, count)
    assert part.dtype == np.uint32
    assert part.tobytes() == whole[start : start + count].tobytes()


@pytest.mark.parametrize("boundary", [1 << 15, 1 << 16, 1 << 32, 5 << 32])
def test_words_go_on_over_every_boundary(boundary: int) -> None:
    """Blocks are generated many at a time, and their counter has two halves."""
    found = words(7, 3, 4 * (boundary - 5), 40).reshape(10, 4)
    for at, row in enumerate(found.tolist()):
        block = boundary - 5 + at
        assert row == by_hand([block & 0xFFFFFFFF, block >> 32, 3, 0], [7, 0])
    assert words(7, 3, 0, 4 * (1 << 15) + 40)[-20:].tolist() == words(7, 3, 4 * (1 << 15) + 20, 20).tolist()


def test_seeds_and_streams_differ_in_every_word() -> None:
    held = [words(seed, stream, 0, 64) for seed in SEEDS for stream in (0, 1, 1 << 32, SEED_LIMIT - 1)]
    assert len({each.tobytes() for each in held}) == len(held)


@pytest.mark.parametrize("bad", [-1, SEED_LIMIT, True, 1.0, "1", None, np.uint64(3)])
def test_what_is_no_seed_is_refused(bad: object) -> None:
    with pytest.raises(PemnError, match=r"^seed must be an integer from 0 to 2\^64 - 1, found "):
        check_seed(bad)  # type: ignore[arg-type]
    with pytest.raises(PemnError, match=r"^seed must be"):
        words(bad, 0, 0, 1)  # type: ignore[arg-type]
    with pytest.raises(PemnError, match=r"^stream must be"):
        words(0, bad, 0, 1)  # type: ignore[arg-type]


@pytest.mark.parametrize(("start", "count"), [(-1, 1), (0, -1), (4 * SEED_LIMIT, 1), (4 * SEED_LIMIT - 3, 4)])
def test_words_outside_the_stream_are_refused(start: int, count: int) -> None:
    with pytest.raises(PemnError, match="are outside the stream"):
        words(0, 0, start, count)
