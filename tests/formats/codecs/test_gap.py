from __future__ import annotations

import math
import tracemalloc

import numpy as np
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from pemn_formats.codecs.gap import Gap, GapInverted
from pemn_formats.errors import FormatError

pytestmark = pytest.mark.usefixtures("both_ways")
BITS = 8192


def chunk(ones: list[int], bits: int = BITS) -> bytes:
    out = np.zeros(bits, np.uint8)
    out[ones] = 1
    return np.packbits(out, bitorder="little").tobytes()


MAGIC = b"\x28\xb5\x2f\xfd"


def runs_of(stored: bytes) -> list[int]:
    return list(zstandard.ZstdDecompressor().decompress(MAGIC + stored[1:]))


def stored(runs: list[int], escape: int = 255, **options: bool) -> bytes:
    frame = zstandard.ZstdCompressor(level=1, **options).compress(bytes(runs))
    assert frame.startswith(MAGIC)
    return bytes([escape]) + frame[4:]


@pytest.mark.parametrize(
    ("ones", "runs"),
    [
        ([0], [0]),
        ([BITS - 1], [255] * 32 + [31]),
        ([0, BITS - 1], [0] + [255] * 32 + [30]),
        ([0, 1, 2], [0, 0, 0]),
        ([253], [253]),
        ([254], [254]),
        ([255], [255, 0]),
        ([256], [255, 1]),
        ([509], [255, 254]),
        ([510], [255, 255, 0]),
        ([511], [255, 255, 1]),
        ([1, 256], [1, 254]),
        ([1, 257], [1, 255, 0]),
        ([7, 8, 519], [7, 0, 255, 255, 0]),
    ],
)
def test_runs_and_escapes(ones: list[int], runs: list[int]) -> None:
    raw = chunk(ones)
    found = Gap().encode(raw)
    assert found is not None
    assert found[0] == 255
    assert runs_of(found) == runs
    assert Gap().decode(found, len(raw)) == raw
    inverted = bytes(byte ^ 255 for byte in raw)
    assert GapInverted().encode(inverted) == found
    assert GapInverted().decode(found, len(raw)) == inverted


@pytest.mark.parametrize(
    ("density", "chances"), [(0.001, [1]), (0.004, [2]), (0.006, [2, 4]), (0.04, [128]), (0.2, [128]), (0.34, [128])]
)
def test_runs_reach_the_escape_with_a_chance_of_a_power_of_two(density: float, chances: list[int]) -> None:
    bits = 1 << 19
    raw = chunk(sorted(np.random.default_rng(7).permutation(bits)[: round(density * bits)]), bits)
    found = Gap().encode(raw)
    assert found is not None
    assert Gap().decode(found, len(raw)) == raw
    escapes = {255 if chance == 1 else math.ceil(math.log(chance) / -math.log1p(-density)) for chance in chances}
    assert found[0] in escapes


@given(st.sets(st.integers(0, BITS - 1), min_size=1, max_size=60))
def test_any_few_ones_come_back(ones: set[int]) -> None:
    raw = chunk(sorted(ones))
    found = Gap().encode(raw)
    assert found is not None
    assert Gap().decode(found, len(raw)) == raw


@pytest.mark.parametrize("raw", [b"", bytes(10), b"\xff" * 10, chunk(list(range(0, BITS, 2)))])
def test_no_ones_and_too_many_are_left_to_others(raw: bytes) -> None:
    assert Gap().encode(raw) is None
    assert GapInverted().encode(bytes(byte ^ 255 for byte in raw)) is None


@pytest.mark.parametrize("each", [Gap(), GapInverted()])
@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "a gap chunk has no escape"),
        (stored([1], 0), "a gap chunk has no escape"),
        (b"\xff", "a zstd frame does not decode: "),
        (stored([3, 7, 5], 6), "a gap chunk has a run byte of 7 above its escape, 6"),
        (stored([3, 6], 6), "a gap chunk ends inside a run"),
        (stored([6, 6, 5], 6) + b"\0", "a zstd frame does not decode: "),
        (stored([1] * 63 + [0, 0], 1), "a gap chunk claims 65 runs for 64 bits"),
        (b"\xff\xff\xff", "a zstd frame does not decode: "),
        (stored([]), "a gap chunk claims 0 runs for 64 bits"),
        (stored([0] * 65), "a gap chunk claims 65 runs for 64 bits"),
        (stored([0], write_content_size=False), "a gap chunk claims 18446744073709551615 runs for 64 bits"),
        (b"\xff" + MAGIC + stored([0])[1:], "a (zstd frame|gap chunk) "),
        (stored([0, 0])[:-1], "a zstd frame does not decode: "),
        (stored([0, 0]) + b"\0", "a zstd frame does not decode: "),
        (stored([3, 255]), "a gap chunk ends inside a run"),
        (stored([64]), "a gap chunk runs beyond its 64 bits"),
        (stored([255, 255, 254]), "a gap chunk runs beyond its 64 bits"),
        (stored([0] * 33 + [31]), "a gap chunk runs beyond its 64 bits"),
    ],
)
def test_hostile_runs_are_refused(each: Gap, data: bytes, message: str) -> None:
    with pytest.raises(FormatError, match=rf"^{message}"):
        each.decode(data, 8)


def test_the_last_bit_may_be_a_one() -> None:
    assert Gap().decode(stored([63]), 8) == chunk([63], 64)
    assert Gap().decode(stored([0] * 64), 8) == b"\xff" * 8
    assert Gap().decode(stored([1] * 63 + [0], 1), 8) == chunk([63], 64)
    assert Gap().decode(stored([2, 2, 1, 0], 2), 8) == chunk([5, 6], 64)


def test_runs_are_counted_on_over_the_pieces_they_are_decoded_in(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = chunk(sorted({(at * at) % BITS for at in range(100)}))
    found = Gap().encode(raw)
    assert found is not None
    monkeypatch.setattr("pemn_formats.codecs.gap._RUNS_AT_ONCE", 3)
    assert Gap().decode(found, len(raw)) == raw


def test_a_chunk_is_decoded_in_little_memory() -> None:
    raw = np.packbits(np.random.default_rng(0).random(8 << 19) < 0.3).tobytes()
    found = Gap().encode(raw)
    assert found is not None
    tracemalloc.start()
    Gap().decode(found, len(raw))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 12 << 20
