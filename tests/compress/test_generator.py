from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pemn_compress import generator
from pemn_formats import fills, philox, values
from pemn_formats.errors import PemnError

SEEDS = [0, 1, 0xFFFFFFFF, 1 << 32, 0x9E3779B97F4A7C15, (1 << 64) - 1]
STREAMS = [0, 3, 1 << 32, (1 << 33) + 17, (1 << 64) - 1]
RANGES = [
    (0, 0),
    (0, 1),
    (0, 4),
    (1, 2),
    (3, 129),
    (31, 33),
    (32, 64),
    (5, 4097),
    ((1 << 34) - 3, 9),
    ((1 << 66) - 5, 5),
]
uint64 = st.integers(0, (1 << 64) - 1)

gpu = pytest.param(
    "cuda", marks=[pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]
)
devices = pytest.mark.parametrize("device", ["cpu", gpu])


def same_bytes(found: torch.Tensor, expected: np.ndarray) -> None:
    held = found.cpu().numpy()
    assert held.shape == expected.shape
    assert held.astype(expected.dtype).tobytes() == expected.tobytes()


@devices
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("stream", STREAMS)
def test_words_equal_those_of_numpy(device: str, seed: int, stream: int) -> None:
    for start, count in RANGES:
        found = generator.words(seed, stream, start, count, device)
        assert found.dtype == torch.int64
        assert found.device.type == device
        same_bytes(found, philox.words(seed, stream, start, count))


@devices
def test_words_reproduce_the_known_answer_of_random123(device: str) -> None:
    key, block, stream = 0x299F31D0A4093822, 0x85A308D3243F6A88, 0x0370734413198A2E
    found = generator.words(key, stream, block * 4, 4, device)
    assert found.tolist() == [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1]


@devices
@pytest.mark.parametrize("distribution", values.DISTRIBUTIONS)
@pytest.mark.parametrize("seed", SEEDS)
def test_values_equal_those_of_numpy(device: str, distribution: str, seed: int) -> None:
    for stream in STREAMS:
        for start, count in RANGES:
            found = generator.unit_values(distribution, seed, stream, start, count, device)
            assert found.dtype == torch.float32
            same_bytes(found, values.unit_values(distribution, seed, stream, start, count))


@settings(max_examples=80, deadline=None)
@given(st.sampled_from(values.DISTRIBUTIONS), uint64, uint64, st.integers(0, 1 << 40), st.integers(0, 300))
def test_any_piece_of_any_stream_equals_numpy(
    distribution: str, seed: int, stream: int, start: int, count: int
) -> None:
    found = generator.unit_values(distribution, seed, stream, start, count)
    same_bytes(found, values.unit_values(distribution, seed, stream, start, count))


def test_long_ranges_are_cut_without_a_seam(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generator, "_BLOCKS_AT_ONCE", 7)
    monkeypatch.setattr(generator, "_VALUES_AT_ONCE", 45)
    for distribution in values.DISTRIBUTIONS:
        found = generator.unit_values(distribution, 11, 2, 13, 500)
        same_bytes(found, values.unit_values(distribution, 11, 2, 13, 500))


@devices
@pytest.mark.parametrize("distribution", values.DISTRIBUTIONS)
def test_a_million_values_equal_numpy_whichever_way_they_are_made(device: str, distribution: str) -> None:
    expected = values.unit_values(distribution, 5, 1, 0, 1_000_003)
    same_bytes(generator.unit_values(distribution, 5, 1, 0, 1_000_003, device), expected)
    same_bytes(generator.seeded_values(distribution, 5, 1, 1_000_003, device), expected)


@devices
@pytest.mark.parametrize("span", [1, 2, 3, 16, 17, 1000, 65_537, 1 << 33, (1 << 62) - 1])
def test_permutations_equal_those_of_numpy(device: str, span: int) -> None:
    index = np.unique(np.linspace(0, span - 1, 200).astype(np.int64).clip(0, span - 1))
    found = generator.permute(torch.from_numpy(index).to(device), 77, fills.PERMUTATION_STREAM, span)
    same_bytes(found, fills.permute(index, 77, fills.PERMUTATION_STREAM, span))


@devices
@pytest.mark.parametrize(("length", "span"), [(1, 0), (7, 0), (7, 900), (251, 1024), (2000, 1000)])
def test_fill_indices_equal_those_of_numpy(device: str, length: int, span: int) -> None:
    found = generator.fill_index(length, span, 3, fills.PERMUTATION_STREAM + 1, 5, 800, device)
    same_bytes(found, fills.fill_index(length, span, 3, fills.PERMUTATION_STREAM + 1, 5, 800))


@devices
@pytest.mark.parametrize(
    ("length", "span", "count"), [(10, 0, 10), (10, 0, 3), (10, 0, 47), (1, 0, 9), (10, 50, 47), (60, 50, 50)]
)
def test_expanding_a_prototype_is_indexing_by_the_fill(device: str, length: int, span: int, count: int) -> None:
    prototype = torch.arange(100.0, 100.0 + length, device=device)
    expected = 100 + fills.fill_index(length, span, 8, 99, 0, count)
    same_bytes(generator.expand(prototype, span, 8, 99, count), expected.astype(np.float32))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: generator.words(-1, 0, 0, 1), "seed must be an integer from 0 to 2\\^64 - 1, found -1"),
        (lambda: generator.words(0, 1 << 64, 0, 1), "stream must be an integer"),
        (lambda: generator.words(0, 0, -1, 1), "words -1 to 0 are outside the stream"),
        (lambda: generator.words(0, 0, 1 << 66, 1), "outside the stream"),
        (lambda: generator.unit_values("cauchy", 0, 0, 0, 1), "unknown distribution 'cauchy'"),
        (lambda: generator.permute(torch.tensor([0]), 0, 0, 0), "span from 1 to 2\\^62, found 0"),
        (lambda: generator.permute(torch.tensor([5]), 0, 0, 5), "lies outside \\[0, 5\\)"),
        (lambda: generator.permute(torch.tensor([-1]), 0, 0, 5), "lies outside \\[0, 5\\)"),
    ],
)
def test_what_the_generator_refuses(call, message: str) -> None:
    with pytest.raises(PemnError, match=message):
        call()
