"""A file within a budget: the residual as precise as its bytes allow, never a byte too many."""

from __future__ import annotations

import copy
from collections import Counter

import pytest
import torch

from pemn_compress import saving
from pemn_compress.config import MaskConfig
from pemn_compress.equality import check_equal
from pemn_compress.masking import mask_, masked_weights
from pemn_compress.models import build
from pemn_compress.saving import to_content
from pemn_compress.within import content_within
from pemn_formats.errors import PemnError
from pemn_formats.reader import Reader
from pemn_formats.writer import encode


@pytest.fixture(scope="module")
def model() -> torch.nn.Module:
    net = build("convmixer", dim=24, depth=3, patch=2, kernel=3, channels=1)
    mask_(net, MaskConfig(scale="channel", int8_layers=("first",)))
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.weight.copy_(torch.rand(24, generator=generator) + 0.5)
                module.bias.copy_(torch.randn(24, generator=generator))
    return net.eval()


def sizes(model: torch.nn.Module) -> list[int]:
    return [len(encode(to_content(model, residual_dtype=dtype))) for dtype in ("log8", "float16", "float32")]


def test_every_budget_is_kept_and_used(model: torch.nn.Module) -> None:
    least, middle, most = sizes(model)
    for budget in range(least + 8, most + 40, 61):
        effort = "fast" if budget % 2 else "balanced"
        content, data = content_within(model, budget, effort=effort)
        assert len(data) <= budget
        assert data == encode(content, effort=effort)
        with Reader.open(data) as reader:
            check_equal(model, reader.content())
        # What is left is less than the next entry would take.
        assert len(data) >= min(budget - 130, most)
        dtypes = {entry.dtype for entry in content.residual} - {"int8"}
        assert not {"log8", "float32"} <= dtypes
    assert least < middle < most


def test_the_steps_between_the_dtypes(model: torch.nn.Module) -> None:
    least, middle, most = sizes(model)
    for budget, dtype in ((least, "log8"), (middle, "float16"), (most, "float32")):
        content, data = content_within(model, budget)
        whole = to_content(model, residual_dtype=dtype)
        assert Counter(each.dtype for each in content.residual) == Counter(each.dtype for each in whole.residual)
        assert data == encode(whole)


def test_masks_are_packed_once(model: torch.nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    budget = sizes(model)[1]
    packed: list[str] = []
    real = saving._masked_tensor
    monkeypatch.setattr(saving, "_masked_tensor", lambda name, *rest: (packed.append(name), real(name, *rest))[1])
    content, _ = content_within(model, budget)
    assert packed == [each.name for each in content.masked]


def test_one_dtype_for_all(model: torch.nn.Module) -> None:
    _, middle, most = sizes(model)
    content, _ = content_within(model, most, residual_dtype="float16")
    assert {each.dtype for each in content.residual} == {"float16", "int8"}
    with pytest.raises(PemnError, match=r"with float16, 1 B more than the budget of"):
        content_within(model, middle - 1, residual_dtype="float16")


def test_a_budget_is_kept_even_if_bytes_were_foreseen_wrong(
    model: torch.nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    budget = sizes(model)[0] + 8
    monkeypatch.setattr("pemn_compress.within.header_bytes", lambda manifest: 0)
    assert len(content_within(model, budget)[1]) <= budget


def test_an_effort_that_costs_the_budget_is_named(model: torch.nn.Module) -> None:
    sparse = copy.deepcopy(model)
    with torch.no_grad():
        for _, _, score in masked_weights(sparse):
            score.sub_(score.abs().mean())
    budget = sizes(sparse)[0]
    with pytest.raises(PemnError, match=f"more than the budget of {budget:,} B; leave effort fast out"):
        content_within(sparse, budget, effort="fast")
    with pytest.raises(PemnError, match="train a smaller net"):
        content_within(sparse, budget - 1, effort="fast")


def test_a_budget_that_is_too_small(model: torch.nn.Module) -> None:
    least = sizes(model)[0]
    with pytest.raises(PemnError, match=f"takes {least:,} B with log8, the smallest residual dtype, 1 B more"):
        content_within(model, least - 1)
