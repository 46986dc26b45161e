"""The compiled loops give the bits of numpy's, and touch nothing that they were not given."""

from __future__ import annotations

import itertools
import math
import os
import struct
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pemn_formats import native
from pemn_formats.bit_rows import RowSelect
from pemn_formats.deposit import deposit
from pemn_formats.fills import PERMUTATION_STREAM, feistel_keys, fill_index
from pemn_formats.native import Loops
from pemn_formats.philox import SEED_LIMIT, words

GUARD = 0x5A


@pytest.fixture
def numpy_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "_LOOPS", None)


def random_bytes(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, count, dtype=np.uint8)


def guarded(count: int, dtype: type) -> tuple[np.ndarray, np.ndarray]:
    """An array between guard bytes, and all of its memory."""
    memory = np.full(64 + count * np.dtype(dtype).itemsize + 64, GUARD, np.uint8)
    return memory[64:-64].view(dtype), memory


def assert_guards_stand(memory: np.ndarray) -> None:
    assert (memory[:64] == GUARD).all()
    assert (memory[-64:] == GUARD).all()


@pytest.mark.parametrize("blocks", [0, 1, 15, 16, 17, 1000])
@pytest.mark.parametrize("first", [0, 3, (1 << 32) - 7, SEED_LIMIT - 1000])
@pytest.mark.usefixtures("numpy_only")
def test_words(loops: Loops, blocks: int, first: int) -> None:
    for seed, stream in ((0, 0), (2022, 1 << 32), (SEED_LIMIT - 1, SEED_LIMIT - 2)):
        out, memory = guarded(4 * blocks, np.uint32)
        loops.words(out, first, stream, seed)
        np.testing.assert_array_equal(out, words(seed, stream, 4 * first, 4 * blocks))
        assert_guards_stand(memory)


@given(st.integers(0, SEED_LIMIT - 1), st.integers(0, SEED_LIMIT - 1), st.integers(0, 4 << 32), st.integers(0, 200))
@pytest.mark.usefixtures("loops")
def test_words_from_any_place(seed: int, stream: int, start: int, count: int) -> None:
    found = words(seed, stream, start, count)
    kept, native._LOOPS = native._LOOPS, None
    try:
        np.testing.assert_array_equal(found, words(seed, stream, start, count))
    finally:
        native._LOOPS = kept


@pytest.mark.parametrize("word", [np.uint32, np.uint16])
@pytest.mark.parametrize("count", [*range(18), 1001])
def test_select(loops: Loops, word: type, count: int) -> None:
    packed = (count + 7) // 8
    many = random_bytes(count * np.dtype(word).itemsize, 1).view(word)
    one = np.array(np.iinfo(word).max // 3, word)
    for kept, flipped, values in itertools.product(
        (None, random_bytes(packed, 2)), (None, random_bytes(packed, 3)), (many, one)
    ):
        expected, (out, memory) = np.empty(count, word), guarded(count, word)
        RowSelect()(expected, kept, flipped, values)
        loops.select(out, kept, flipped, values)
        assert out.tobytes() == expected.tobytes()
        assert_guards_stand(memory)


@pytest.mark.parametrize("word", [np.uint32, np.uint16])
@pytest.mark.parametrize("beyond", range(0, 16, 4), ids="{} B beyond a multiple of 16".format)
def test_select_past_the_caches(loops: Loops, beyond: int, word: type) -> None:
    """So many weights at once are written by other means, where they begin at a multiple of 16 bytes."""
    size = np.dtype(word).itemsize
    count = (1 << 18) // size + 13
    memory = np.full(count * size + 64, GUARD, np.uint8)
    start = -memory.ctypes.data % 16 + 16 + beyond
    out, expected = memory[start : start + count * size].view(word), np.empty(count, word)
    bits = [random_bytes((count + 7) // 8, seed) for seed in (2, 3)]
    for values in (random_bytes(count * size, 1).view(word), np.array(np.iinfo(word).max // 3, word)):
        RowSelect()(expected, *bits, values)
        out[:] = 0
        loops.select(out, *bits, values)
        np.testing.assert_array_equal(out, expected)
        assert set(memory[:start]) | set(memory[start + count * size :]) == {GUARD}


@pytest.mark.parametrize("word", [np.uint32, np.uint16])
@pytest.mark.parametrize("span", [1, 2, 5, 1023, 4096, 70_001, (1 << 32) - 1, (1 << 32) + 17, (1 << 40) + 3, 1 << 62])
def test_permuted(loops: Loops, span: int, word: type) -> None:
    keys = feistel_keys(2022, PERMUTATION_STREAM)
    for length, start in ((1, 0), (251, 0), (251, span // 3), (1000, max(0, span - 2050))):
        count = min(2050, span - start)
        vector = random_bytes(length * np.dtype(word).itemsize, 6).view(word)
        out, memory = guarded(count, word)
        loops.permuted(out, vector, keys, start, span)
        expected = vector[fill_index(length, span, 2022, PERMUTATION_STREAM, start, count)]
        assert out.tobytes() == expected.tobytes()
        assert_guards_stand(memory)


@pytest.mark.parametrize("count", [0, 1, 7, 8, 9, 500])
@pytest.mark.parametrize("first", [0, 1, 7, 8, 13])
@pytest.mark.usefixtures("numpy_only")
def test_deposit(loops: Loops, count: int, first: int) -> None:
    mask = random_bytes(count, 4)
    bits = first + int(np.unpackbits(mask).sum())
    packed = random_bytes((bits + 7) // 8, 5)
    out, memory = guarded(count, np.uint8)
    loops.deposit(out, mask, packed, first)
    np.testing.assert_array_equal(out, deposit(mask, packed, first))
    assert_guards_stand(memory)


def test_deposit_reads_nothing_beyond_the_end(loops: Loops) -> None:
    mask, out = np.full(64, 255, np.uint8), np.full(64, GUARD, np.uint8)
    loops.deposit(out, mask, np.full(3, 255, np.uint8), 4)
    assert out.tobytes() == bytes([255, 255, 15]) + bytes(61)


@pytest.mark.parametrize("escape", [1, 7, 255])
def test_lay_runs(loops: Loops, escape: int) -> None:
    runs = (random_bytes(400, 8).astype(int) % (escape + 1)).astype(np.uint8)
    ends = np.cumsum(runs.astype(int) + (runs != escape))
    expected = np.zeros((int(ends[-1]) + 7) // 8 * 8, np.uint8)
    expected[ends[runs != escape] - 1] = 1
    raw, memory = guarded(expected.size // 8, np.uint8)
    raw[:] = 0
    assert loops.lay_runs(raw, runs, escape) == ends[-1]
    np.testing.assert_array_equal(np.unpackbits(raw, bitorder="little"), expected)
    assert_guards_stand(memory)


@pytest.mark.parametrize("runs", [[64], [255, 0], [63, 0], [0] * 65, [255] * 1000 + [1]])
def test_lay_runs_writes_nothing_beyond_the_end(loops: Loops, runs: list[int]) -> None:
    raw, memory = guarded(8, np.uint8)
    raw[:] = 0
    assert loops.lay_runs(raw, np.array(runs, np.uint8), 255) > 64
    assert_guards_stand(memory)


WORDS, BYTES = np.zeros(16, np.uint32), np.zeros(2, np.uint8)


@pytest.mark.parametrize(
    "arguments",
    [
        (WORDS, BYTES[:1], None, WORDS),
        (WORDS, None, np.zeros(3, np.uint8), WORDS),
        (WORDS, BYTES, None, WORDS[:15]),
        (WORDS, BYTES, None, np.zeros(16, np.uint16)),
        (WORDS, np.zeros(2, np.uint16), None, WORDS),
        (np.zeros(16, np.uint64), BYTES, None, np.zeros(16, np.uint64)),
        (np.zeros((2, 0), np.uint32), None, None, np.zeros(3, np.uint32)),
        (np.zeros(67, np.uint8)[3:].view(np.uint32), BYTES, None, WORDS),
        (np.zeros(32, np.uint32)[::2], BYTES, None, WORDS),
        (WORDS, BYTES, None, "no buffer"),
        (b"0123456789", None, None, WORDS),
        (WORDS, BYTES),
    ],
    ids=lambda value: "",
)
def test_select_refuses(loops: Loops, arguments: tuple[object, ...]) -> None:
    with pytest.raises((ValueError, TypeError, BufferError)):
        loops.select(*arguments)  # type: ignore[arg-type]


def test_words_and_deposit_refuse(loops: Loops) -> None:
    locked = np.zeros(4, np.uint32)
    locked.flags.writeable = False
    for out in (np.zeros(5, np.uint32), np.zeros(4, np.uint64), locked, np.zeros(8, np.uint32)[::2], None):
        with pytest.raises((ValueError, TypeError, BufferError)):
            loops.words(out, 0, 0, 0)  # type: ignore[arg-type]
    for runs in (
        (WORDS, BYTES, 1),
        (BYTES, WORDS, 1),
        (locked.view(np.uint8), BYTES, 1),
        (BYTES, BYTES, 256),
        (BYTES,),
    ):
        with pytest.raises((ValueError, TypeError, BufferError, OverflowError)):
            loops.lay_runs(*runs)  # type: ignore[arg-type]
    for arguments in ((BYTES, BYTES[:1], BYTES, 0), (WORDS, BYTES, BYTES, 0), (BYTES, BYTES, BYTES, -1), (BYTES,)):
        with pytest.raises((ValueError, TypeError)):
            loops.deposit(*arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "arguments",
    [
        (WORDS, WORDS, WORDS[:6], 0, 15),
        (WORDS, WORDS, WORDS[:6], 5, 20),
        (WORDS, WORDS, WORDS[:6], 30, 20),
        (WORDS, WORDS, WORDS[:6], 0, (1 << 62) + 1),
        (WORDS[:0], WORDS, WORDS[:6], 0, 0),
        (WORDS, WORDS[:0], WORDS[:6], 0, 16),
        (WORDS, WORDS, WORDS[:5], 0, 16),
        (WORDS, WORDS.view(np.uint16), WORDS[:6], 0, 16),
        (BYTES, BYTES, WORDS[:6], 0, 16),
        (WORDS, WORDS, None, 0, 16),
    ],
    ids=lambda value: "",
)
def test_permuted_refuses(loops: Loops, arguments: tuple[object, ...]) -> None:
    with pytest.raises((ValueError, TypeError)):
        loops.permuted(*arguments)  # type: ignore[arg-type]


def flat(kind: int, start: int, count: int, *sides: int, has_signs: int = 0, among: int = -1) -> list[int]:
    return [kind, start, count, *(sides or (1, 1, 1, 1)), has_signs, among]


def matrix(start: int, *sides: int, count: int | None = None, among: int = -1) -> list[int]:
    return [2, start, math.prod(sides) if count is None else count, *sides, 1, among]


@pytest.mark.parametrize(
    ("parts", "signs", "lanes"),
    [
        ([flat(0, 0, 65)], 0, 4),
        ([flat(0, 60, 5)], 0, 4),
        ([flat(0, -1, 5)], 0, 4),
        ([flat(0, 0, -5)], 0, 4),
        ([flat(0, 1 << 62, 1 << 62)], 0, 4),
        ([flat(3, 0, 5)], 0, 4),
        ([flat(-1, 0, 5)], 0, 4),
        ([flat(1, 0, 5, 2, 1, 1, 1)], 0, 4),
        ([flat(1, 0, 5, has_signs=1)], 1, 4),
        ([flat(1, 5, 5, among=0)], 0, 4),
        ([matrix(0, 2, 2, 0, 3)], 0, 4),
        ([matrix(0, -2, -2, 1, 1)], 4, 4),
        ([matrix(0, 1 << 62, 1, 4, 4, count=5)], 0, 4),
        ([matrix(0, 2, 2, 1 << 62, 1 << 62, count=5)], 4, 4),
        ([matrix(0, 4, 1, 2, 2)], 15, 4),
        ([matrix(0, 4, 1, 2, 2, count=15)], 16, 4),
        ([matrix(0, 4, 5, 2, 2)], 80, 4),
        ([matrix(15, 4, 1, 2, 2, count=9, among=0)], 16, 4),
        ([matrix(16, 4, 1, 2, 2, count=9, among=-2)], 16, 4),
        ([matrix(0, 4, 1, 4, 2), matrix(32, 4, 1, 4, 2), flat(0, 0, 1)], 64, 4),
        ([matrix(32, 4, 1, 4, 2, count=0, among=0)] * 3, 96, 4),
        ([flat(0, 0, 64), flat(0, 0, 1)], 0, 4),
        ([flat(0, 0, 5)], 1, 4),
        ([flat(0, 0, 5)], 0, 0),
        ([flat(0, 0, 5)], 0, -1),
        ([flat(0, 0, 5)], 0, 3),
        ([flat(0, 0, 5)], 0, 1024),
        ([[0, 0, 5]], 0, 4),
    ],
)
def test_the_context_coder_refuses(loops: Loops, parts: list[list[int]], signs: int, lanes: int) -> None:
    rows, ones = np.array(parts, np.int64), np.ones(signs, np.int8)
    with pytest.raises(ValueError, match=r"part|signs|lanes|matrix"):
        loops.context_encode(bytes(8), rows, ones, lanes)
    with pytest.raises(ValueError, match=r"part|signs|lanes|matrix"):
        loops.context_decode(np.zeros(8, np.uint8), rows, ones, lanes, bytes(4 * 512))


@pytest.mark.parametrize("sign", [0, 2, 127, -128])
def test_the_context_coder_refuses_signs_that_are_none(loops: Loops, sign: int) -> None:
    rows, signs = np.array([matrix(0, 4, 1, 4, 4)], np.int64), np.ones(64, np.int8)
    signs[63] = sign
    with pytest.raises(ValueError, match="1 or -1"):
        loops.context_encode(bytes(8), rows, signs, 4)
    with pytest.raises(ValueError, match="1 or -1"):
        loops.context_decode(np.zeros(8, np.uint8), rows, signs, 4, bytes(4 * 512))


def test_the_context_coder_refuses_a_plane_among_another_number_of_weights(loops: Loops) -> None:
    rows, signs = np.array([matrix(16, 4, 1, 2, 2, count=3, among=0)], np.int64), np.ones(16, np.int8)
    raw = np.zeros(8, np.uint8)
    with pytest.raises(ValueError, match="another number of bits"):
        loops.context_encode(raw.tobytes(), rows, signs, 4)
    assert loops.context_decode(raw, rows, signs, 4, struct.pack("<4I", *[1 << 16] * 4)) == 4
    raw[0] = 7
    assert loops.context_decode(raw, rows, signs, 4, struct.pack("<4I", *[1 << 16] * 4)) in (1, 2)


def test_the_context_coder_refuses_more_than_32_bits_can_count(loops: Loops) -> None:
    rows, none = np.array([flat(0, 0, 5)], np.int64), np.zeros(0, np.int8)
    with pytest.raises(ValueError, match="too long"):
        loops.context_decode(np.zeros((1 << 26) + 1, np.uint8), rows, none, 4, bytes(16))


def test_the_context_coder_refuses_other_buffers(loops: Loops) -> None:
    rows, none = np.array([flat(0, 0, 5)], np.int64), np.zeros(0, np.int8)
    for stored in (bytes(15), bytes(17), bytes(14)):
        with pytest.raises(ValueError, match="stored"):
            loops.context_decode(np.zeros(8, np.uint8), rows, none, 4, stored)
    for raw, parts, signs in (
        (np.zeros(2, np.uint32), rows, none),
        (np.zeros(8, np.uint8), rows.astype(np.int32), none),
        (np.zeros(8, np.uint8), rows, np.zeros(0, np.int64)),
        (bytes(8), rows, none),
        (np.zeros(8, np.uint8), None, none),
    ):
        with pytest.raises((ValueError, TypeError, BufferError)):
            loops.context_decode(raw, parts, signs, 4, bytes(16))  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        loops.context_encode(bytes(8), rows, none)  # type: ignore[call-arg]


def test_what_was_built_from_other_sources_is_left_out(loops: Loops, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "_REVISION", -1)
    assert native._load() is None


def test_where_nothing_is_built_or_wanted_numpy_does_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    def none_built(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(native, "import_module", none_built)
    assert native._load() is None
    monkeypatch.undo()
    monkeypatch.setenv("PEMN_NATIVE", "0")
    assert native._load() is None


def test_the_environment_leaves_them_out() -> None:
    code = "from pemn_formats.native import compiled; print(compiled())"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PEMN_NATIVE": "0", "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "None"
