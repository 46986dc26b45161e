"""The loops of training give the bits of numpy's, also of what is no number, and touch nothing else."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pemn_formats.native import Loops

Words = npt.NDArray[np.uint32]

SIGN = np.uint32(1 << 31)
GUARD = np.uint32(0x5A5A5A5A)
SPECIAL = np.array(
    [0, 1, 0x7FFFFF, 0x800000, 0x3F800000, 0x7F7FFFFF, 0x7F800000, 0x7F800001, 0x7FC00000, 0x7FFFFFFF], np.uint32
)
SPECIAL = np.concatenate([SPECIAL, SPECIAL | SIGN])
COUNTS = [1, 15, 16, 17, 33, 1000]


def mixed(count: int, seed: int) -> Words:
    """Random numbers with every special one among them, as bits."""
    generator = np.random.default_rng(seed)
    bits = (generator.random(count, np.float32) - np.float32(0.5)).view(np.uint32)
    places = generator.random(count) < 0.3
    bits[places] = generator.choice(SPECIAL, int(places.sum()))
    return bits


def guarded(count: int) -> tuple[Words, Words]:
    memory = np.full(count + 32, GUARD)
    return memory[16:-16], memory


def assert_guards_stand(memory: Words) -> None:
    assert (memory[:16] == GUARD).all()
    assert (memory[-16:] == GUARD).all()


def at(array: npt.NDArray[np.generic]) -> int:
    return array.ctypes.data


def chosen(rule: int, score: Words, value: Words, margin: float) -> Words:
    number = score.view(np.float32)
    beyond = (number < -np.float32(margin)) | (number > np.float32(margin))
    as_integer = score.view(np.int32)
    least = np.float32(margin).view(np.uint32)
    return np.stack(
        [
            np.where(number <= 0, 0, value),
            np.where(as_integer <= 0, value ^ SIGN, value),
            np.where(beyond, value, 0),
            np.where(score & ~SIGN <= least, value ^ SIGN, value),
            np.where(beyond, value ^ (score & SIGN), 0),
        ]
    )[rule].astype(np.uint32)


@pytest.mark.parametrize("margin", [0.0, 1e-45, 0.25, 3e38])
@pytest.mark.parametrize("rule", range(5))
def test_choose(loops: Loops, rule: int, margin: float) -> None:
    rows: list[float] = []
    kept = []
    for count in COUNTS:
        score, value, (out, memory) = mixed(count, count), mixed(count, count + 1), guarded(count)
        rows += at(out), at(score), at(value), count, rule, margin
        kept.append((score, value, out, memory))
    loops.choose(tuple(rows))
    for score, value, out, memory in kept:
        np.testing.assert_array_equal(out, chosen(rule, score, value, margin))
        assert_guards_stand(memory)


def test_carry(loops: Loops) -> None:
    for count in COUNTS:
        grad, value, score = (mixed(count, count + seed) for seed in range(3))
        out, memory = guarded(count)
        loops.carry((at(out), at(grad), at(value), at(score), count))
        with np.errstate(all="ignore"):
            sign = np.nan_to_num(np.sign(score.view(np.float32)), nan=0.0)
            expected = value.view(np.float32) * grad.view(np.float32) * sign
        found = out.view(np.float32)
        np.testing.assert_array_equal(np.isnan(found), np.isnan(expected))
        numbers = ~np.isnan(expected)
        np.testing.assert_array_equal(out[numbers], expected.view(np.uint32)[numbers])
        assert_guards_stand(memory)


def assert_margin(loops: Loops, parts: list[Words], kept: int) -> None:
    """What a sort says: a margin wherever the least kept is a number, not zero, and greater than all that are not."""
    order = np.sort(np.concatenate(parts) & ~SIGN)[::-1]
    least, after = order[kept - 1], order[kept] if kept < order.size else -1
    margin = loops.margin(tuple(number for part in parts for number in (at(part), part.size)), kept)
    if least > after and 0 < least <= 0x7F800000:
        assert margin is not None
        bits = np.float32(margin).view(np.uint32)
        assert margin == np.float32(margin)
        assert after <= bits < least
    else:
        assert margin is None


@pytest.mark.parametrize("shift", [0, 3, 10, 13, 20, 24])
def test_margin(loops: Loops, shift: int) -> None:
    """The lower bits cleared, so that equals lie at the cut."""
    for count in COUNTS:
        scores = mixed(count, shift) >> np.uint32(shift) << np.uint32(shift)
        for kept in {1, 2, count // 3, count // 2, count - 1, count} & set(range(1, count + 1)):
            assert_margin(loops, [scores], kept)
            assert_margin(loops, [scores[: count // 4 + 1], scores[count // 4 + 1 :].copy()][: 1 + (count > 1)], kept)


@given(st.lists(st.one_of(st.sampled_from(SPECIAL.tolist()), st.integers(0, 2**32 - 1)), min_size=1), st.data())
def test_the_margin_of_any_bits(loops: Loops, bits: list[int], data: st.DataObject) -> None:
    assert_margin(loops, [np.array(bits, np.uint32)], data.draw(st.integers(1, len(bits))))


def test_margins_are_those_of_each_row(loops: Loops) -> None:
    parts = [mixed(count, count) for count in COUNTS]
    kept = tuple(max(1, part.size // 3) for part in parts)
    rows = [(at(part), part.size) for part in parts]
    found = loops.margins(tuple(number for row in rows for number in row), kept)
    assert found == tuple(loops.margin(row, count) for row, count in zip(rows, kept, strict=True))
    assert loops.margins((), ()) == ()


NUMBERS = np.ones(4, np.float32)
HERE = at(NUMBERS)


@pytest.mark.parametrize(
    "rows",
    [
        (HERE, HERE, HERE, 4, 0),
        (0, HERE, HERE, 4, 0, 0.0),
        (HERE, 0, HERE, 4, 0, 0.0),
        (HERE, HERE, HERE + 2, 4, 0, 0.0),
        (HERE, HERE, HERE, -4, 0, 0.0),
        (HERE, HERE, HERE, 4, 5, 0.0),
        (HERE, HERE, HERE, 4, -1, 0.0),
        (HERE, HERE, HERE, 4, 2, -0.5),
        (HERE, HERE, HERE, 4, 2, float("nan")),
        (HERE, HERE, HERE, 4, 2, None),
        (HERE, HERE, HERE, 4.5, 2, 0.5),
        (HERE, "", HERE, 4, 2, 0.5),
        [HERE, HERE, HERE, 4, 0, 0.0],
    ],
)
def test_choose_refuses(loops: Loops, rows: tuple[float, ...]) -> None:
    with pytest.raises((ValueError, TypeError, OverflowError)):
        loops.choose(rows)
    assert (NUMBERS == 1).all()


@pytest.mark.parametrize(
    "rows",
    [
        (HERE, HERE, HERE, HERE),
        (0, HERE, HERE, HERE, 4),
        (HERE, HERE, HERE, 0, 4),
        (HERE, HERE, HERE, HERE + 1, 4),
        (HERE, HERE, HERE, HERE, -1),
        None,
    ],
)
def test_carry_refuses(loops: Loops, rows: tuple[int, ...]) -> None:
    with pytest.raises((ValueError, TypeError, OverflowError)):
        loops.carry(rows)
    assert (NUMBERS == 1).all()


@pytest.mark.parametrize(
    ("rows", "kept"),
    [
        ((HERE, 4), 0),
        ((HERE, 4), 5),
        ((HERE, 4), -1),
        ((), 1),
        ((HERE,), 1),
        ((0, 4), 1),
        ((HERE, -4), 1),
        ((HERE, 4), None),
        ([HERE, 4], 1),
    ],
)
def test_margin_refuses(loops: Loops, rows: tuple[int, ...], kept: int) -> None:
    with pytest.raises((ValueError, TypeError, OverflowError)):
        loops.margin(rows, kept)
    with pytest.raises((ValueError, TypeError, OverflowError)):
        loops.margins(rows, (kept,))  # type: ignore[arg-type]


@pytest.mark.parametrize("kept", [(), (1, 1), [1], None, (1.5,)])
def test_margins_refuses(loops: Loops, kept: object) -> None:
    with pytest.raises((ValueError, TypeError)):
        loops.margins((HERE, 4), kept)  # type: ignore[arg-type]
