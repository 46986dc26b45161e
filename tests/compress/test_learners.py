from __future__ import annotations

import dataclasses

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pemn_compress.config import MaskConfig
from pemn_compress.learners import LEARNERS, Learner
from pemn_compress.learners.selection import find_margin
from pemn_compress.line import select
from pemn_formats.errors import PemnError

gpu = pytest.param(
    "cuda", marks=[pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]
)
devices = pytest.mark.parametrize("device", ["cpu", gpu])


def learner(name: str, alphabet: str, density: float = 0.5, bound: float = 0.1) -> Learner:
    return LEARNERS[name](alphabet, density, bound)


def sorted_top(scores: list[float], density: float) -> list[bool]:
    """The plain reading: order by falling magnitude, then by index, and take the first ones."""
    count = max(1, int(density * len(scores) + 0.5))
    order = sorted(range(len(scores)), key=lambda i: (-abs(scores[i]), i))[:count]
    return [i in order for i in range(len(scores))]


SCORES = [-1.0, -0.06, -0.05, -0.0, 0.0, 1e-45, 0.05, 0.06, 1.0]


@devices
@pytest.mark.parametrize(
    ("alphabet", "codes"),
    [
        ("keep", [0, 0, 0, 0, 0, 1, 1, 1, 1]),
        ("sign", [0, 0, 0, 0, 0, 1, 1, 1, 1]),
        ("ternary", [-1, -1, 0, 0, 0, 0, 0, 1, 1]),
    ],
)
def test_the_threshold_learner_compares(device: str, alphabet: str, codes: list[int]) -> None:
    found = learner("threshold", alphabet).code(torch.tensor(SCORES, device=device))
    assert found.dtype == (torch.int8 if alphabet == "ternary" else torch.bool)
    assert found.int().tolist() == codes


@pytest.mark.parametrize("density", [0.1, 0.5, 2 / 3, 0.9])
def test_ternary_masks_start_at_the_density_asked_for(density: float) -> None:
    scores = (torch.arange(-5000, 5000) + 0.5) / 5000 * 0.1
    code = learner("threshold", "ternary", density, 0.1).code(scores)
    assert code.count_nonzero() / 10_000 == pytest.approx(density, abs=2e-3)
    assert code.sum() == 0


def hard_scores(kind: str, count: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(count)
    scores = torch.randn(count, generator=generator)
    if kind == "equal":
        scores = (scores * 4).round() / 4
    elif kind == "sorted":
        scores = scores.sort().values
    elif kind == "periodic":  # what every sample with a stride misses
        scores[:: count // 2048 or 1] = 0.5
    elif kind == "tiny":
        scores = scores * 1e-44
    return scores


@pytest.mark.parametrize("count", [1, 2, 7, 100, 20_000])
@pytest.mark.parametrize("kind", ["random", "equal", "sorted", "periodic", "tiny"])
@pytest.mark.parametrize("alphabet", ["keep", "sign", "ternary"])
@pytest.mark.parametrize("name", list(LEARNERS))
def test_weights_are_the_line_of_the_codes_to_the_bit(name: str, alphabet: str, kind: str, count: int) -> None:
    scores = hard_scores(kind, count)
    value = torch.randn(count, generator=torch.Generator().manual_seed(1))
    value[:: max(1, count // 5)] = torch.tensor([0.0, -0.0]).repeat(count)[: len(value[:: max(1, count // 5)])]
    for density in (0.5,) if name == "threshold" else (0.001, 0.3, 0.5, 0.99, 0.99999):
        one = learner(name, alphabet, density)
        expected = select(one.code(scores), value, alphabet)
        assert torch.equal(one.select(scores, value).view(torch.int32), expected.view(torch.int32)), density


@pytest.mark.parametrize("kind", ["random", "equal", "sorted", "periodic", "tiny"])
def test_the_margin_parts_exactly_as_many_as_a_sort_says(kind: str) -> None:
    scores = hard_scores(kind, 30_001)
    magnitude = scores.abs()
    order = magnitude.sort(descending=True).values
    found = 0
    for count in (1, 2, 100, 9_000, 15_000, 29_999, 30_000, 30_001):
        margin = find_margin([scores[:7_000], scores[7_000:]], count)
        cut = count < len(order) and bool(order[count - 1] > order[count])
        assert (margin is not None) == cut
        if margin is not None:
            found += 1
            assert int((magnitude > margin).sum()) == count
            assert margin >= 0
    assert found or kind in ("equal", "tiny")


@devices
@pytest.mark.parametrize(
    ("alphabet", "codes"),
    [
        ("keep", [0, 1, 1, 1, 0, 0]),
        ("sign", [0, 1, 1, 1, 0, 0]),
        ("ternary", [0, -1, 1, -1, 0, 0]),
    ],
)
def test_topk_takes_the_largest_magnitudes_and_the_lower_index_of_equals(
    device: str, alphabet: str, codes: list[int]
) -> None:
    scores = torch.tensor([0.1, -0.5, 0.3, -0.3, 0.3, 0.2], device=device)
    assert learner("topk", alphabet).code(scores).int().tolist() == codes


@settings(max_examples=150, deadline=None)
@given(
    scores=st.lists(st.sampled_from([-2.0, -1.0, -0.5, -0.0, 0.0, 0.5, 1.0, 2.0]), min_size=1, max_size=60),
    density=st.floats(0.01, 0.99),
)
def test_topk_equals_a_stable_sort_however_many_scores_are_equal(scores: list[float], density: float) -> None:
    top = sorted_top(scores, density)
    given_scores = torch.tensor(scores)
    assert learner("topk", "keep", density).code(given_scores).tolist() == top
    signs = [(score > 0) - (score < 0) if kept else 0 for score, kept in zip(scores, top, strict=True)]
    assert learner("topk", "ternary", density).code(given_scores).tolist() == signs


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(-1, 1, width=32), min_size=1, max_size=200), st.floats(0.01, 0.99))
def test_topk_keeps_exactly_its_density(scores: list[float], density: float) -> None:
    code = learner("topk", "sign", density).code(torch.tensor(scores))
    assert int(code.sum()) == max(1, int(density * len(scores) + 0.5))


@devices
def test_topk_counts_in_flat_order_whatever_the_memory_layout(device: str) -> None:
    scores = torch.ones(2, 3, 2, 2, device=device).to(memory_format=torch.channels_last)
    code = learner("topk", "keep", 0.25).code(scores)
    assert code.reshape(-1).int().tolist() == [1] * 6 + [0] * 18


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("alphabet", ["keep", "sign", "ternary"])
@pytest.mark.parametrize("name", list(LEARNERS))
def test_codes_are_the_same_on_cuda(name: str, alphabet: str) -> None:
    scores = torch.randint(-50, 50, (300, 77), generator=torch.Generator().manual_seed(0)) / 64
    one = learner(name, alphabet, 0.5 if name == "threshold" else 0.4)
    assert torch.equal(one.code(scores), one.code(scores.cuda()).cpu())


@pytest.mark.parametrize(
    ("name", "alphabet", "direction"),
    [
        ("threshold", "keep", None),
        ("threshold", "sign", None),
        ("threshold", "ternary", None),
        ("topk", "keep", [-1.0, 0.0, 1.0]),
        ("topk", "sign", [-1.0, 0.0, 1.0]),
        ("topk", "ternary", None),
    ],
)
def test_the_direction_of_the_straight_through_gradient(
    name: str, alphabet: str, direction: list[float] | None
) -> None:
    found = learner(name, alphabet).direction(torch.tensor([-0.3, 0.0, 0.2]))
    assert (None if found is None else found.tolist()) == direction


def test_only_the_threshold_learner_has_a_rate_to_learn() -> None:
    scores = torch.tensor([-0.5, 0.0, 0.5])
    expected = [1 / (1 + 2.718281828**2), 0.5, 1 / (1 + 2.718281828**-2)]
    assert learner("threshold", "keep").probability(scores, 0.25).tolist() == pytest.approx(expected)
    ternary = learner("threshold", "ternary", 0.5, 1.0).probability(scores, 0.25)
    assert ternary.tolist() == pytest.approx([0.5, expected[0], 0.5])
    with pytest.raises(PemnError, match="learner topk keeps a fixed density, so no rate can be learned"):
        learner("topk", "keep").probability(scores, 0.25)


def test_a_third_learner_is_a_class_and_a_registry_entry(monkeypatch: pytest.MonkeyPatch) -> None:
    class Coin(LEARNERS["threshold"]):  # type: ignore[misc]
        name = "coin"
        alphabets = ("keep",)

    monkeypatch.setitem(LEARNERS, "coin", Coin)
    assert LEARNERS["coin"]("keep", 0.5, 0.1).code(torch.tensor([1.0, -1.0])).tolist() == [True, False]
    with pytest.raises(PemnError, match="learner coin knows the alphabets keep, found 'ternary'"):
        Coin.check("ternary", 0.5)


def test_a_learner_is_plain_data() -> None:
    assert dataclasses.replace(learner("topk", "keep"), density=0.3) == learner("topk", "keep", 0.3)
    assert MaskConfig().learner in LEARNERS
