from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from pemn_compress.bases import value_sources
from pemn_compress.config import MaskConfig
from pemn_compress.learners import LEARNERS
from pemn_compress.masked_weight import MaskedWeight, initial_scores, score_bound
from pemn_compress.strategies import TensorInfo, plan
from pemn_formats.errors import PemnError
from pemn_formats.fills import PERMUTATION_STREAM, SCORE_STREAM, fill_index
from pemn_formats.values import UNIT_STD, unit_values

ALPHABETS = ["keep", "sign", "ternary"]
TENSORS = [TensorInfo("a.weight", (4, 3, 2, 2), 12), TensorInfo("b.weight", (5, 8), 8)]


def make(index: int = 0, **options: object) -> tuple[MaskedWeight, torch.Tensor]:
    config = MaskConfig(**options)  # type: ignore[arg-type]
    planned, tensor = plan(TENSORS, config), TENSORS[index]
    source = value_sources(TENSORS, planned, config, ["cpu"] * len(TENSORS))[index]
    bound = score_bound(tensor.fan_in)
    learner = LEARNERS[config.learner](config.alphabet, config.density, bound)
    weight = MaskedWeight(tensor, index, planned, config, source, learner)
    return weight, initial_scores(tensor, index, config.seed, bound).requires_grad_()


def value_of(weight: MaskedWeight) -> torch.Tensor:
    return weight.value if weight.scale is None else weight.value * weight.scale.detach().reshape(-1, 1, 1, 1)


def bits(tensor: torch.Tensor) -> list[int]:
    return tensor.detach().contiguous().view(torch.int32).reshape(-1).tolist()


def test_initial_scores_are_kaimings_uniform_from_our_own_generator() -> None:
    scores = initial_scores(TENSORS[1], 1, 7, 1 / math.sqrt(8))
    expected = unit_values("uniform", 7, SCORE_STREAM + 1, 0, 40) * np.float32(1 / math.sqrt(8))
    assert scores.numpy().tobytes() == expected.reshape(5, 8).tobytes()


@pytest.mark.parametrize("distribution", ["signed", "uniform", "normal"])
def test_the_value_is_the_prototype_through_the_fill_times_the_scale(distribution: str) -> None:
    weight, _ = make(1, strategy="rp", values=7, mode="rand", seed=3, distribution=distribution)
    prototype = unit_values(distribution, 3, 0, 0, 7)
    expected = prototype[fill_index(7, 48, 3, PERMUTATION_STREAM, 0, 40)].reshape(5, 8)
    expected *= np.float32(math.sqrt(2 / 8) / UNIT_STD[distribution])
    assert value_of(weight).numpy().tobytes() == expected.tobytes()


@pytest.mark.parametrize("scale", ["none", "tensor", "channel"])
@pytest.mark.parametrize("alphabet", ALPHABETS)
def test_the_weight_is_the_line(alphabet: str, scale: str) -> None:
    weight, scores = make(alphabet=alphabet, scale=scale, distribution="normal", seed=2)
    found = weight(scores).detach()
    value = value_of(weight)
    code = weight.code(scores)
    assert code.dtype == torch.int8
    assert set(code.unique().tolist()) == ({-1, 0, 1} if alphabet == "ternary" else {0, 1})
    low = -value if alphabet == "sign" else torch.zeros_like(value)
    expected = torch.where(code == 1, value, torch.where(code == -1, -value, low))
    assert bits(found) == bits(expected)


@pytest.mark.parametrize("alphabet", ["keep", "ternary"])
def test_a_hidden_weight_is_positive_zero(alphabet: str) -> None:
    weight, scores = make(alphabet=alphabet)
    hidden = [bit for bit, code in zip(bits(weight(scores)), weight.code(scores).reshape(-1), strict=True) if code == 0]
    assert hidden
    assert set(hidden) == {0}


@pytest.mark.parametrize("learner", ["threshold", "topk"])
@pytest.mark.parametrize("alphabet", ALPHABETS)
def test_the_gradient_goes_straight_through(alphabet: str, learner: str) -> None:
    weight, scores = make(alphabet=alphabet, learner=learner, scale="channel", distribution="uniform")
    upstream = torch.linspace(-1, 1, scores.numel()).reshape(scores.shape)
    (weight(scores) * upstream).sum().backward()
    value = value_of(weight)
    through_magnitude = learner == "topk" and alphabet != "ternary"
    expected = upstream * value * (scores.detach().sign() if through_magnitude else 1)
    torch.testing.assert_close(scores.grad, expected, rtol=0, atol=0)


@pytest.mark.parametrize("alphabet", ALPHABETS)
def test_a_learned_scale_gets_the_true_gradient(alphabet: str) -> None:
    weight, scores = make(alphabet=alphabet, scale="channel", distribution="normal")
    upstream = torch.linspace(-1, 1, scores.numel()).reshape(scores.shape)
    (weight(scores) * upstream).sum().backward()
    step = 2.0**-6
    assert weight.scale is not None
    with torch.no_grad():
        for channel in range(4):
            low, high = weight.scale.clone(), weight.scale.clone()
            low[channel] -= step
            high[channel] += step
            ends = []
            for value in (low, high):
                weight.scale.copy_(value)
                ends.append((weight(scores) * upstream).sum())
            assert weight.scale.grad is not None
            assert float(weight.scale.grad[channel]) == pytest.approx(float(ends[1] - ends[0]) / (2 * step), abs=2e-3)
            weight.scale.copy_((low + high) / 2)


@pytest.mark.parametrize("learner", ["threshold", "topk"])
@pytest.mark.parametrize("alphabet", ALPHABETS)
def test_autograd_saves_nothing_for_the_mask(alphabet: str, learner: str) -> None:
    weight, scores = make(alphabet=alphabet, learner=learner, scale="channel")
    kept: list[int] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: (kept.append(t.data_ptr()), t)[1], lambda t: t):
        found = weight(scores)
    assert kept == []
    with torch.no_grad():
        scores.mul_(2)
    with pytest.raises(RuntimeError, match="of a mask were changed in place between forward and backward"):
        found.sum().backward()


def test_only_a_learned_scale_is_saved() -> None:
    assert list(make()[0].state_dict()) == []
    assert list(make(scale="channel")[0].state_dict()) == ["scale"]


def test_density_counts_codes_that_are_not_zero() -> None:
    weight, scores = make(1, learner="topk", density=0.3)
    assert weight.density(scores) == 12 / 40
    ternary, scores = make(1, alphabet="ternary", learner="topk", density=0.7)
    assert ternary.density(scores) == 28 / 40


def test_scores_that_are_not_numbers_have_no_code() -> None:
    weight, scores = make()
    with torch.no_grad():
        scores[1, 2, 0, 1] = math.nan
    with pytest.raises(PemnError, match=r"a\.weight: 1 of 48 scores are NaN, so they have no code; training diverged"):
        weight.code(scores)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_another_precision_is_refused_rather_than_changing_the_masks(dtype: torch.dtype) -> None:
    weight, scores = make()
    message = rf"a\.weight: scores and values must stay float32, found {dtype}.*autocast.*merge_"
    for call in (weight, weight.code):
        with pytest.raises(PemnError, match=message):
            call(scores.to(dtype))
    with pytest.raises(PemnError, match=f"found torch.float32 and {dtype}"):
        weight.to(dtype)(scores)


def test_the_representation_says_how_it_is_masked() -> None:
    assert repr(make(strategy="mp")[0]) == "MaskedWeight(mp, signed, keep, threshold, scale=tensor)"
