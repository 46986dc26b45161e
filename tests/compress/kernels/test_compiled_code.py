"""What the launches compile for real devices; no device is needed, only Triton and the assembler it brings along."""

from __future__ import annotations

import importlib.util
import itertools
from collections.abc import Iterator

import numpy as np
import pytest
import torch

pytestmark = pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="no Triton here")

# What a program may share, so that four of them fit into a multiprocessor (164 KiB on an A100, 228 KiB on an H100).
CAPABILITIES = {80: 40 << 10, 90: 56 << 10}
DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
SOURCES = ("signed", "uniform", "normal", "bits", "plain", "tiled", "shuffled")
ALPHABETS = ("keep", "sign", "ternary")
CHANNELS = ("one", "wide", "narrow")
# What `pack_weight` makes of a tensor: source of values, keep plane, flip plane.
PACKED = (("signed", True, False), ("bits", True, False), ("ones", False, True), ("ones", True, True))
BATCHES = (1, 2, 16, 32, 64)  # two vectors, three tilings of the matrix


def some_lines() -> Iterator[tuple[int, str, str, str, str]]:
    """Every source with every alphabet; devices, kinds of scale and dtypes take turns, and all meet each source."""
    for number, (source, alphabet) in enumerate(itertools.product(SOURCES, ALPHABETS)):
        turn = number + number // 3
        yield list(CAPABILITIES)[turn % 2], source, alphabet, CHANNELS[turn % 3], list(DTYPES)[number % 3]
        yield 90, source, alphabet, "one", "float16"


def some_products() -> Iterator[tuple[int, tuple[str, bool, bool], int, bool, bool, str]]:
    """Every tiling with every kind of weight; devices, dtypes, scales and biases take turns."""
    for number, (weight, batch) in enumerate(itertools.product(PACKED, BATCHES)):
        turn = number + number // 5
        yield list(CAPABILITIES)[turn % 2], weight, batch, turn % 4 < 2, turn % 3 == 0, list(DTYPES)[turn % 3]


@pytest.mark.parametrize(("capability", "source", "alphabet", "channels", "dtype"), sorted(set(some_lines())))
def test_weights(capability: int, source: str, alphabet: str, channels: str, dtype: str) -> None:
    from benchmarks.compiled_kernels import compiling_for
    from pemn_compress.kernels.line import FIELDS
    from pemn_compress.kernels.reconstruct import launcher

    rows = np.zeros((1, len(FIELDS)), np.int64)
    rows[0, FIELDS.index("numel")] = 1
    with compiling_for(capability) as found:
        launcher(rows, (source, alphabet, channels), dtype, torch.device("cpu"))()
    (code,) = found
    assert code.resources()[1] == 0, "registers are spilled"
    assert code.shared <= CAPABILITIES[capability]
    threads = 32 * code.warps
    written = code.constants["TILE"] * DTYPES[dtype].itemsize
    assert code.ptx.count("st.global.v4.b32") * 16 * threads >= written, "not all whole rows are stored 16 bytes wide"


@pytest.mark.parametrize(("capability", "weight", "batch", "channels", "bias", "dtype"), list(some_products()))
def test_products(
    capability: int, weight: tuple[str, bool, bool], batch: int, channels: bool, bias: bool, dtype: str
) -> None:
    from benchmarks.compiled_kernels import compiling_for
    from pemn_compress.kernels.packed import multiply, supports

    source, keep, flip = weight
    outputs, columns = 64, 512
    rows = torch.zeros((batch, columns), dtype=DTYPES[dtype])
    plane = torch.zeros(outputs * columns // 8, dtype=torch.uint8)
    scale = torch.ones(outputs if channels else 1)
    added = torch.zeros(outputs, dtype=DTYPES[dtype]) if bias else None
    assert supports(rows, source, 100)
    with compiling_for(capability) as found:
        kept, flipped, values = (plane if held else None for held in (keep, flip, source == "bits"))
        multiply(rows, kept, flipped, values, scale, added, outputs, source, 7, 0, 100)
    (code,) = found
    assert code.name == ("_vector_kernel" if batch <= 2 else "_matrix_kernel")
    assert code.resources()[1] == 0, "registers are spilled"
    assert code.shared <= CAPABILITIES[capability]
    if batch > 2:
        assert "mma" in code.ptx, "no tensor cores are used"


@pytest.mark.parametrize("capability", CAPABILITIES)
@pytest.mark.parametrize("count", [1000, 1024])
@pytest.mark.parametrize(
    ("distribution", "alphabet"),
    [("signed", "keep"), ("signed", "sign"), ("signed", "ternary"), ("signed", "none"), ("normal", "keep")],
)
def test_training(distribution: str, alphabet: str, count: int, capability: int) -> None:
    from benchmarks.compiled_kernels import compiling_for
    from pemn_compress.kernels.training import Seeded, masked_weight, score_gradient

    values, given = Seeded(distribution, (1 << 64) - 3, 5, 0.1), torch.zeros(count)
    with compiling_for(capability) as found:
        if alphabet == "none":
            score_gradient(given, values)
        else:
            masked_weight(given, values, alphabet, 0.1)
    (code,) = found
    assert code.resources()[1] == 0, "registers are spilled"
    assert code.shared <= CAPABILITIES[capability]
    if count % 16 == 0:
        threads = 32 * code.warps
        wide = code.constants["TILE"] // 4 // threads
        assert code.ptx.count("st.global.v4.b32") == wide, "not 16 bytes a store"
        assert code.ptx.count("ld.global.v4.b32") == wide, "not 16 bytes a load"
