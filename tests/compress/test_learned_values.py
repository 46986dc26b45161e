from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import pemn_compress as pemn
from pemn_compress.config import MaskConfig
from pemn_compress.equality import check_equal
from pemn_compress.masking import mask_, mask_parameters, masked_weights
from pemn_compress.saving import to_content
from pemn_compress.tiling import fold, tile
from pemn_compress.train.size_estimate import count_masks, estimate_bytes
from pemn_formats.errors import PemnError

STRATEGIES: list[dict[str, object]] = [{"strategy": "rp", "values": 7}, {"strategy": "mp"}, {"strategy": "one-layer"}]


def net(**options: object) -> nn.Sequential:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(20, 12), nn.ReLU(), nn.Linear(12, 12), nn.ReLU(), nn.Linear(12, 12))
    mask_(model, MaskConfig(learn_values=True, **options))  # type: ignore[arg-type]
    return model


def train(model: nn.Module, steps: int = 5) -> None:
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.05)
    inputs = torch.linspace(-1, 1, 80).reshape(4, 20)
    for _ in range(steps):
        optimizer.zero_grad()
        (model(inputs) - 1).square().sum().backward()
        optimizer.step()


@pytest.mark.parametrize(("count", "length"), [(10, 3), (9, 3), (2, 3), (3, 3), (7, 1)])
def test_folding_is_the_gradient_of_tiling(count: int, length: int) -> None:
    vector = torch.arange(1.0, length + 1, requires_grad=True)
    assert tile(vector, count).tolist() == [float(place % length + 1) for place in range(count)]
    upstream = torch.arange(count, dtype=torch.float32) + 0.5
    (expected,) = torch.autograd.grad((tile(vector, count) * upstream).sum(), vector)
    assert torch.equal(fold(upstream, length), expected)


@pytest.mark.parametrize("scale", ["none", "tensor", "channel"])
@pytest.mark.parametrize("alphabet", ["keep", "sign", "ternary"])
def test_values_get_the_true_gradient_of_all_tensors(alphabet: str, scale: str) -> None:
    model = net(strategy="rp", values=7, alphabet=alphabet, scale=scale, distribution="normal")
    found = masked_weights(model)
    vector = found[0][1].vector
    assert vector is not None
    upstream = [torch.linspace(-1, 1, score.numel()).reshape(score.shape) for _, _, score in found]
    loss = sum(
        ((weight(score) * up).sum() for (_, weight, score), up in zip(found, upstream, strict=True)), torch.zeros(())
    )
    loss.backward()  # type: ignore[no-untyped-call]
    expected = torch.zeros(7)
    for (_, weight, score), up in zip(found, upstream, strict=True):
        code = weight.code(score).float()
        signed = 2 * code - 1 if alphabet == "sign" else code
        factor = torch.as_tensor(float(weight.fill.scale)) if weight.scale is None else weight.scale.detach()[:, None]
        effect = (up * signed * factor).reshape(-1)
        expected.index_add_(0, torch.arange(effect.numel()) % 7, effect)
    torch.testing.assert_close(vector.grad, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("options", STRATEGIES, ids=lambda options: str(options["strategy"]))
def test_before_training_they_are_the_seeds_values(options: dict[str, object]) -> None:
    learned = net(**options)
    plain = nn.Sequential(nn.Linear(20, 12), nn.ReLU(), nn.Linear(12, 12), nn.ReLU(), nn.Linear(12, 12))
    mask_(plain, MaskConfig(**options))  # type: ignore[arg-type]
    for one, other in ((0, 0), (2, 2), (4, 4)):
        assert torch.equal(learned[one].weight, plain[other].weight)


def test_tensors_of_a_prototype_share_one_parameter() -> None:
    def shapes(**options: object) -> list[tuple[int, ...]]:
        return [tuple(parameter.shape) for parameter in mask_parameters(net(**options))]

    assert shapes(strategy="rp", values=7) == [(12, 20), (7,), (12, 12), (12, 12)]
    assert shapes(strategy="mp") == [(12, 20), (240,), (12, 12), (12, 12)]
    assert shapes(strategy="one-layer") == [(12, 20), (240,), (12, 12), (144,), (12, 12)]
    assert len(list(net(strategy="rp", values=7).parameters())) == 3 + 3 + 1


@pytest.mark.parametrize("lossless", [True, False])
@pytest.mark.parametrize("options", STRATEGIES, ids=lambda options: str(options["strategy"]))
@pytest.mark.parametrize("scale", ["tensor", "channel"])
def test_a_file_gives_the_trained_weights_back(
    options: dict[str, object], lossless: bool, scale: str, tmp_path: Path
) -> None:
    model = net(scale=scale, **options)
    before = masked_weights(model)[0][1].vector
    assert before is not None
    start = before.detach().clone()
    train(model)
    assert not torch.equal(start, before)
    content = to_content(model, lossless=lossless)
    check_equal(model, content)
    assert {prototype.source for prototype in content.prototypes} == {"float32" if lossless else "float16"}
    pemn.save_model(model, tmp_path / "net.pemn", lossless=lossless)
    found = pemn.load_file(tmp_path / "net.pemn")
    for name, weight, score in masked_weights(model):
        wanted = weight(score).detach()
        if lossless:
            assert torch.equal(found[name], wanted)
        torch.testing.assert_close(found[name], wanted, rtol=2e-3, atol=1e-4)


def test_the_check_before_an_export_sees_a_wrong_vector() -> None:
    model = net(strategy="rp", values=7)
    train(model)
    content = to_content(model, lossless=True)
    values = content.prototypes[0].values
    assert values is not None
    wrong = dataclasses.replace(content.prototypes[0], values=np.nextafter(values, values + 1))
    content = dataclasses.replace(content, prototypes=(wrong,))
    with pytest.raises(PemnError, match="would not load back"):
        check_equal(model, content)


def test_no_seed_gives_learned_values() -> None:
    with pytest.raises(
        PemnError, match="the values were learned, so no seed gives them; save them with store='vector'"
    ):
        to_content(net(strategy="rp"), store="seed")


def test_the_estimate_counts_the_vector(tmp_path: Path) -> None:
    model = net(strategy="rp", values=200)
    train(model)
    estimate = estimate_bytes(model, count_masks(model))
    assert pemn.save_model(model, tmp_path / "net.pemn").file_bytes == pytest.approx(estimate, abs=120)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "learn_values with strategy 'full' would train a dense network; take 'rp', 'mp' or 'one-layer'"),
        ({"strategy": "rp", "mode": "rand"}, "learn_values works on values that are tiled, found mode 'rand'"),
    ],
)
def test_what_cannot_be_learned_is_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(PemnError, match=message):
        MaskConfig(learn_values=True, **options)  # type: ignore[arg-type]
    with pytest.raises(PemnError, match="learn_values must be true or false, found 1"):
        MaskConfig(strategy="rp", learn_values=1)  # type: ignore[arg-type]
    assert MaskConfig(strategy="rp", learn_values=True).store == "vector"
