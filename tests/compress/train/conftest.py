"""Small images and a small recipe for the training tests."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from pemn_compress.config import MaskConfig
from pemn_compress.data import DataSpec, ImageSet, Splits, load_data
from pemn_compress.train.config import TrainConfig
from pemn_compress.train.run_config import RunConfig

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def spec() -> DataSpec:
    return DataSpec("toy", 3, 3, (8, 8), ("0.5", "0.4", "0.3"), ("0.25", "0.25", "0.25"))


@pytest.fixture
def images() -> ImageSet:
    generator = torch.Generator().manual_seed(5)
    pixels = torch.randint(0, 256, (33, 3, 8, 8), generator=generator, dtype=torch.uint8)
    return ImageSet(pixels, torch.arange(33) % 3)


@pytest.fixture(scope="session")
def digits() -> Splits:
    """200 digits to train on, all of the held-out ones."""
    splits = load_data("digits", validation=0.1, seed=0)
    few = splits.train.subset(torch.arange(200))
    return Splits(splits.spec, few, splits.validation, splits.test)


@pytest.fixture
def tiny() -> RunConfig:
    """A masked MLP on a few digits, three epochs."""
    return RunConfig(
        data="digits",
        limit_train=200,
        model="mlp",
        model_args={"hidden": 16, "depth": 1},
        mask=MaskConfig(strategy="rp"),
        train=TrainConfig(epochs=3, batch_size=32, lr=0.02),
    )
