from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from pemn_compress.config import MaskConfig
from pemn_compress.masking import mask_, masked_weights
from pemn_compress.penalty import penalty
from pemn_formats.errors import PemnError


def net(**options: object) -> nn.Module:
    model = nn.Sequential(nn.Conv2d(2, 4, 3), nn.Flatten(), nn.Linear(16, 5))
    return mask_(model, MaskConfig(**options))  # type: ignore[arg-type]


def entropy(p: float) -> float:
    return -p * math.log2(p) - (1 - p) * math.log2(1 - p)


@pytest.mark.parametrize("alphabet", ["keep", "sign", "ternary"])
def test_the_rate_is_the_formula_of_every_tensor(alphabet: str) -> None:
    model = net(alphabet=alphabet)
    expected = 0.0
    for _, weight, score in masked_weights(model):
        margin = weight.learner.bound * 0.5
        distance = [abs(s) - margin if alphabet == "ternary" else s for s in score.reshape(-1).tolist()]
        p = sum(1 / (1 + math.exp(-d / 0.5)) for d in distance) / len(distance)
        expected += score.numel() * (entropy(p) + (p if alphabet == "ternary" else 0))
    assert penalty(model).item() == pytest.approx(expected, rel=1e-5)


def test_following_its_gradient_lowers_the_entropy_of_the_masks() -> None:
    model = net()
    scores = [score for _, _, score in masked_weights(model)]
    with torch.no_grad():
        for score in scores:
            score -= 0.05
    before = [weight.density(score) for _, weight, score in masked_weights(model)]
    for _ in range(5):
        for score in scores:
            score.grad = None
        penalty(model).backward()
        with torch.no_grad():
            for score in scores:
                score -= 0.05 * score.grad.sign()
    after = [weight.density(score) for _, weight, score in masked_weights(model)]
    assert all(new < old for new, old in zip(after, before, strict=True))


@pytest.mark.parametrize("level", [100.0, -100.0])
def test_saturated_scores_give_no_bits_and_a_finite_gradient(level: float) -> None:
    model = net()
    with torch.no_grad():
        for _, _, score in masked_weights(model):
            score.fill_(level)
    bits = penalty(model)
    bits.backward()
    assert 0 <= bits.item() < 0.01
    assert all(bool(score.grad.isfinite().all()) for _, _, score in masked_weights(model))


def test_what_has_no_rate() -> None:
    with pytest.raises(PemnError, match="penalty needs masked weights, found none; call mask_ first"):
        penalty(nn.Linear(2, 2))
    with pytest.raises(PemnError, match="learner topk keeps a fixed density"):
        penalty(net(learner="topk"))
    with pytest.raises(PemnError, match="temperature must be greater than 0, found 0"):
        penalty(net(), temperature=0)
