from __future__ import annotations

import numpy as np
import pytest
import torch

from pemn_compress.kernels import training
from pemn_compress.kernels.training import Seeded, masked_weight, score_gradient
from pemn_compress.learners.threshold import Threshold
from pemn_formats.values import unit_values

SEED = (1 << 64) - 3
BOUND = 0.25


@pytest.fixture(autouse=True)
def _small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small tiles, so that small tensors have several and the interpreter is quick."""
    monkeypatch.setattr(training, "_TILE", 512)


def scores(count: int) -> torch.Tensor:
    """Scores on both sides of every border: zeros of both signs, the margin, and what is next to them."""
    margin = np.float32(BOUND * 0.5)
    borders = [0.0, -0.0, 1e-45, -1e-45, margin, -margin, np.nextafter(margin, np.float32(1)), -1e-38, np.inf, -np.inf]
    drawn = np.random.default_rng(count).uniform(-BOUND, BOUND, count).astype(np.float32)
    special = np.array(borders, dtype=np.float32)
    drawn[: len(special)] = special[:count]
    return torch.from_numpy(drawn)


def dense(values: Seeded, count: int) -> torch.Tensor:
    """The buffer that the plain operations read."""
    drawn = unit_values(values.distribution, values.seed, values.stream, 0, count)
    return torch.from_numpy(drawn) * torch.tensor(values.scale, dtype=torch.float32)


def same_bits(found: torch.Tensor, expected: torch.Tensor) -> bool:
    return torch.equal(found.cpu().view(torch.int32), expected.cpu().view(torch.int32))


@pytest.mark.parametrize("alphabet", ["keep", "sign", "ternary"])
@pytest.mark.parametrize("distribution", ["signed", "uniform", "normal"])
@pytest.mark.parametrize("count", [1, 31, 512, 1333])
def test_weights_and_gradients_of_the_plain_operations(
    alphabet: str, distribution: str, count: int, device: str
) -> None:
    values = Seeded(distribution, SEED, 5, 0.0371)
    score, value = scores(count), dense(values, count)
    learner = Threshold(alphabet, 0.5, BOUND)
    found = masked_weight(score.to(device), values, alphabet, learner.margin)
    assert same_bits(found, learner.select(score, value))
    gradient = torch.from_numpy(np.random.default_rng(count).normal(size=count).astype(np.float32))
    assert same_bits(score_gradient(gradient.to(device), values), value * gradient)


def test_shapes_streams_and_negative_scales(device: str) -> None:
    values = Seeded("signed", 7, (1 << 62) + 1, -1.5)
    score = scores(3 * 5 * 7).reshape(3, 5, 7)
    found = masked_weight(score.to(device), values, "keep")
    assert found.shape == score.shape
    assert same_bits(found, Threshold("keep", 0.5, BOUND).select(score, dense(values, score.numel()).reshape(3, 5, 7)))


@pytest.mark.parametrize("alphabet", ["keep", "none"])
def test_nothing_is_read_or_written_outside(alphabet: str, device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    count, values = 1333, Seeded("signed", SEED, 5, 0.0371)
    answers = []
    for poison in (0.0, float("nan")):
        held = torch.full((count + 64,), poison, device=device)
        held[32:-32] = torch.linspace(-1, 1, count, device=device)
        written = torch.full((count + 64,), 7.0, device=device)
        monkeypatch.setattr(torch, "empty_like", lambda _, written=written: written[32:-32])
        answers.append(training._launch(held[32:-32], values, alphabet, 0.0).clone())
        monkeypatch.undo()
        assert bool((written[:32] == 7).all())
        assert bool((written[-32:] == 7).all())
    assert same_bits(*answers)
    assert bool(answers[0].isfinite().all())
