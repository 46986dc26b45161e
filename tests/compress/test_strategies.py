"""Strategies against the paper's table, transcribed with plain python lists."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pemn_compress.config import MaskConfig
from pemn_compress.strategies import TensorInfo, plan
from pemn_formats.errors import PemnError
from pemn_formats.fills import PERMUTATION_STREAM, fill_index, permute

Shape = tuple[int, ...]


def infos(shapes: list[Shape]) -> list[TensorInfo]:
    return [TensorInfo(f"layer{t}.weight", shape, math.prod(shape[1:])) for t, shape in enumerate(shapes)]


def table(shapes: list[Shape], config: MaskConfig) -> list[list[tuple[int, int]]]:
    """The (stored vector, place in it) that each weight of each tensor takes, straight from the table."""
    counts = [math.prod(shape) for shape in shapes]
    largest = max(counts)
    out: list[list[tuple[int, int]]] = []
    unique: list[Shape] = []
    for t, shape in enumerate(shapes):
        if config.strategy == "full":
            out.append([(t, i) for i in range(counts[t])])
        elif config.strategy == "one-layer":
            if shape not in unique:
                unique.append(shape)
            out.append([(unique.index(shape), i) for i in range(counts[t])])
        elif config.strategy == "mp":
            out.append([(0, i) for i in range(counts[t])])
        else:
            length = int(largest * config.ratio) + 1 if config.ratio is not None else config.values or 251
            tiled = [i % length for i in range(largest)]
            if config.mode == "rand":
                order = permute(np.arange(largest), config.seed, PERMUTATION_STREAM, largest)
                tiled = [tiled[place] for place in order]
            out.append([(0, index) for index in tiled[: counts[t]]])
    return out


def planned(shapes: list[Shape], config: MaskConfig) -> list[list[tuple[int, int]]]:
    result = plan(infos(shapes), config)
    out = []
    for shape, fill in zip(shapes, result.fills, strict=True):
        length = result.prototypes[fill.prototype].length
        stream = PERMUTATION_STREAM + fill.prototype
        index = fill_index(length, fill.span, config.seed, stream, 0, math.prod(shape))
        out.append([(fill.prototype, int(i)) for i in index])
    return out


CONFIGS = [
    MaskConfig(),
    MaskConfig(strategy="one-layer"),
    MaskConfig(strategy="mp"),
    MaskConfig(strategy="rp"),
    MaskConfig(strategy="rp", mode="rand", seed=9),
    *(MaskConfig(strategy="rp", ratio=ratio) for ratio in (1.0, 1e-1, 1e-2, 1e-3, 1e-4, 1e-5)),
    MaskConfig(strategy="rp", ratio=0.3, mode="rand", seed=5),
    MaskConfig(strategy="rp", values=7),
    MaskConfig(strategy="rp", values=1, mode="rand"),
    MaskConfig(strategy="rp", values=500),
]

SHAPES: list[list[Shape]] = [
    [(3, 5)],  # a single layer
    [(1, 1)],
    [(7, 3, 5, 5), (11, 7, 1, 1), (7, 1, 3, 3)],  # sizes that no length divides
    [(4, 6), (6, 4), (4, 6)],  # ties for the largest
    [(8, 3, 2, 2), (8, 1, 5, 5), (8, 8, 1, 1), (8, 8), (10, 8), (8, 1, 5, 5)],  # linear and convolution mixed
    [(300,), (2, 2)],
    [(2, 2), (16, 16), (1, 3)],  # tensors shorter than the vector
]


@pytest.mark.parametrize("config", CONFIGS, ids=str)
@pytest.mark.parametrize("shapes", SHAPES, ids=str)
def test_every_weight_takes_the_value_that_the_table_says(shapes: list[Shape], config: MaskConfig) -> None:
    assert planned(shapes, config) == table(shapes, config)


@settings(max_examples=60, deadline=None)
@given(
    shapes=st.lists(st.lists(st.integers(1, 6), min_size=1, max_size=4).map(tuple), min_size=1, max_size=5),
    strategy=st.sampled_from(["full", "one-layer", "mp", "rp"]),
    ratio=st.floats(1e-6, 1.0),
    mode=st.sampled_from(["copy", "rand"]),
    seed=st.integers(0, (1 << 64) - 1),
)
def test_any_model_follows_the_table(shapes: list[Shape], strategy: str, ratio: float, mode: str, seed: int) -> None:
    options: dict[str, Any] = {"ratio": ratio, "mode": mode} if strategy == "rp" else {}
    config = MaskConfig(strategy=strategy, seed=seed, **options)
    assert planned(shapes, config) == table(shapes, config)


def kaiming(fan_in: int) -> np.float32:
    return np.float32(math.sqrt(2 / fan_in))


@pytest.mark.parametrize(
    ("options", "origin"),
    [
        ({"strategy": "full"}, [0, 1, 2, 3]),
        ({"strategy": "one-layer"}, [0, 1, 0, 3]),
        ({"strategy": "mp"}, [1, 1, 1, 1]),  # the first of the two largest
        ({"strategy": "rp", "ratio": 0.1}, [1, 1, 1, 1]),
    ],
)
def test_scales_belong_to_the_origin_or_to_the_tensor(options: dict[str, Any], origin: list[int]) -> None:
    tensors = infos([(8, 4), (16, 2, 2, 2), (8, 4), (4, 32)])
    own = [kaiming(tensor.fan_in) for tensor in tensors]
    paper = plan(tensors, MaskConfig(scale="none", **options))
    assert [fill.scale for fill in paper.fills] == [own[t] for t in origin]
    for scale in ("tensor", "channel"):
        assert [fill.scale for fill in plan(tensors, MaskConfig(scale=scale, **options)).fills] == own


@pytest.mark.parametrize(("distribution", "std"), [("signed", 1.0), ("uniform", 3**-0.5)])
def test_a_scale_undoes_the_deviation_of_the_unit_values(distribution: str, std: float) -> None:
    tensor = TensorInfo("weight", (4, 9), 9)
    (fill,) = plan([tensor], MaskConfig(distribution=distribution)).fills
    assert fill.scale == np.float32(math.sqrt(2 / 9) / std)
    assert fill.scale.dtype == np.float32


def test_no_tensor_is_no_plan() -> None:
    with pytest.raises(PemnError, match="at least one tensor"):
        plan([], MaskConfig())
