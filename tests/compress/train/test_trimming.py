"""The last resort of a budget: the least sure weights go until the file fits."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from pemn_compress.config import MaskConfig
from pemn_compress.masking import mask_, masked_weights
from pemn_compress.train.trimming import trim_


def net(alphabet: str) -> nn.Module:
    torch.manual_seed(0)
    return mask_(nn.Sequential(nn.Linear(40, 30), nn.Linear(30, 10)), MaskConfig(alphabet=alphabet))


def kept(model: nn.Module) -> int:
    return sum(int((score > 0).sum()) for _, _, score in masked_weights(model))


@pytest.mark.parametrize("alphabet", ["keep", "sign"])
def test_as_few_go_as_are_needed_and_the_least_sure_ones(alphabet: str) -> None:
    model = net(alphabet)
    before = [score.detach().clone() for _, _, score in masked_weights(model)]
    start = kept(model)
    most = start - 100
    assert trim_(model, lambda: kept(model) <= most)
    assert most - start // 2**9 <= kept(model) <= most
    gone, left = [], []
    for old, (_, _, new) in zip(before, masked_weights(model), strict=True):
        assert torch.equal(old.abs(), new.abs())
        relative = old / old.abs().mean()
        gone.append(relative[(old > 0) & (new < 0)])
        left.append(relative[new > 0])
    assert torch.cat(gone).max() < torch.cat(left).min()


@torch.no_grad()
def test_ternary_codes_become_zero() -> None:
    model = net("ternary")

    def codes() -> torch.Tensor:
        return torch.cat([weight.code(score).flatten() for _, weight, score in masked_weights(model)])

    before = codes()
    start = int(before.count_nonzero())
    assert trim_(model, lambda: int(codes().count_nonzero()) <= start - 100)
    after = codes()
    assert start - 100 - start // 2**9 <= int(after.count_nonzero()) <= start - 100
    assert torch.equal(after[after != 0], before[after != 0])


@torch.no_grad()
def test_of_equal_scores_no_more_than_half_go() -> None:
    model = net("keep")
    for _, _, score in masked_weights(model):
        score.fill_(0.5)
    assert trim_(model, lambda: kept(model) <= 1_400)
    assert 1_400 - 1_600 // 2**9 <= kept(model) <= 1_400
    assert not trim_(model, lambda: kept(model) <= 600)
    assert kept(model) >= 1_397


def test_a_net_that_would_lose_more_than_half_is_left_as_it_is() -> None:
    model = net("keep")
    before = [score.detach().clone() for _, _, score in masked_weights(model)]
    assert not trim_(model, lambda: kept(model) <= 10)
    assert all(torch.equal(old, new) for old, (_, _, new) in zip(before, masked_weights(model), strict=True))
