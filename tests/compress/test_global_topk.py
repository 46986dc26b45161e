from __future__ import annotations

import copy
import itertools
from pathlib import Path

import pytest
import torch
from torch import nn

import pemn_compress as pemn
from pemn_compress.config import MaskConfig
from pemn_compress.density import ramp_density, training_density
from pemn_compress.learners.global_topk import GlobalTopK
from pemn_compress.learners.group import Group
from pemn_compress.masking import mask_, masked_weights, merge_
from pemn_formats.errors import PemnError

ALPHABETS = ["keep", "sign", "ternary"]


def net(density: float = 0.3, alphabet: str = "keep", **options: object) -> nn.Sequential:
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 10))
    mask_(model, MaskConfig(learner="topk-global", density=density, alphabet=alphabet, **options))  # type: ignore[arg-type]
    return model


def images() -> torch.Tensor:
    return torch.linspace(-1, 1, 2 * 3 * 64).reshape(2, 3, 8, 8)


def codes(model: nn.Module) -> list[list[int]]:
    return [weight.code(score).reshape(-1).tolist() for _, weight, score in masked_weights(model)]


def plain_codes(model: nn.Module, density: float, alphabet: str = "keep") -> list[list[int]]:
    """The plain reading: order all scores by falling magnitude, then by place in the model, and take the first ones."""
    scores = [score.reshape(-1).tolist() for _, _, score in masked_weights(model)]
    everything = [(-abs(value), tensor, place) for tensor, row in enumerate(scores) for place, value in enumerate(row)]
    kept = set(sorted(everything)[: max(1, int(density * len(everything) + 0.5))])
    out = []
    for tensor, row in enumerate(scores):
        top = [(-abs(value), tensor, place) in kept for place, value in enumerate(row)]
        signs = [((value > 0) - (value < 0)) * one for value, one in zip(row, top, strict=True)]
        out.append(signs if alphabet == "ternary" else [int(one) for one in top])
    return out


@pytest.mark.parametrize("density", [0.0001, 0.05, 0.3, 0.5, 0.9])
@pytest.mark.parametrize("alphabet", ALPHABETS)
def test_the_largest_scores_of_the_whole_model_win(alphabet: str, density: float) -> None:
    model = net(density, alphabet)
    assert codes(model) == plain_codes(model, density, alphabet)


def test_each_tensor_finds_its_own_density() -> None:
    model = net(0.3)
    with torch.no_grad():
        masked_weights(model)[0][2].mul_(0.01)
    first, second = codes(model)
    assert sum(first) == 0
    assert sum(second) == int(0.3 * (len(first) + len(second)) + 0.5)


@pytest.mark.parametrize("density", [0.01, 0.4, 0.97])
def test_equal_scores_are_decided_by_the_place_in_the_model(density: float) -> None:
    model = net(density)
    with torch.no_grad():
        for _, _, score in masked_weights(model):
            score.copy_((score * 20).round() / 4)
    assert codes(model) == plain_codes(model, density)
    weights = [module.weight.detach().clone() for module in (model[0], model[3])]
    assert [weight.ne(0).reshape(-1).int().tolist() for weight in weights] == plain_codes(model, density)


@pytest.mark.parametrize("alphabet", ALPHABETS)
def test_weights_are_those_of_the_codes(alphabet: str) -> None:
    model = net(0.4, alphabet)
    for _, weight, score in masked_weights(model):
        code = weight.code(score)
        low = -weight.value if alphabet == "sign" else torch.zeros_like(weight.value)
        expected = torch.where(code == 1, weight.value, torch.where(code == -1, -weight.value, low))
        assert torch.equal(weight(score).view(torch.int32), expected.view(torch.int32))


def optimizers() -> list[object]:
    return [
        lambda parameters: torch.optim.AdamW(parameters, lr=0.1, foreach=True),
        lambda parameters: torch.optim.AdamW(parameters, lr=0.1, fused=True),
        lambda parameters: torch.optim.SGD(parameters, lr=10.0, foreach=False),
    ]


@pytest.mark.parametrize("make", optimizers(), ids=["foreach", "fused", "plain"])
def test_masks_follow_the_scores_through_training(make: object) -> None:
    model = net(0.3)
    optimizer = make(model.parameters())  # type: ignore[operator]
    before = codes(model)
    for _ in range(3):
        optimizer.zero_grad()
        model(images()).square().sum().backward()
        optimizer.step()
        assert codes(model) == plain_codes(model, 0.3)
    assert codes(model) != before


def test_masks_follow_scores_that_are_loaded_replaced_or_copied() -> None:
    model, other = net(0.3), net(0.3, seed=7)
    model(images())
    model.load_state_dict(other.state_dict())
    assert codes(model) == plain_codes(model, 0.3) == codes(other)
    with torch.inference_mode():
        model(images())
    for _, _, score in masked_weights(model):
        score.data = score.data.flip(0).clone()
    assert codes(model) == plain_codes(model, 0.3) != codes(other)
    twin = copy.deepcopy(model)
    with torch.no_grad():
        for _, _, score in masked_weights(model):
            score.neg_().add_(0.1)
    assert codes(twin) == plain_codes(twin, 0.3) != codes(model)
    assert codes(model) == plain_codes(model, 0.3)


def test_scores_that_are_not_the_models_stand_in_for_them() -> None:
    model = net(0.3)
    _, weight, score = masked_weights(model)[1]
    total = int(0.3 * (216 + score.numel()) + 0.5)
    for factor, kept in ((0.0, total - 216), (1000.0, total)):
        assert int(weight.code(score.detach() * factor).sum()) == kept


def test_merging_and_saving_give_the_weights_of_the_model(tmp_path: Path) -> None:
    model = net(0.2, "ternary")
    expected = [model[0].weight.detach().clone(), model[3].weight.detach().clone()]
    pemn.save_model(model, tmp_path / "net.pemn")
    found = pemn.load_file(tmp_path / "net.pemn")
    assert torch.equal(found["0.weight"], expected[0])
    assert torch.equal(found["3.weight"], expected[1])
    merge_(model)
    assert torch.equal(model[0].weight, expected[0])
    assert torch.equal(model[3].weight, expected[1])


def test_training_alone_sees_another_density() -> None:
    model = net(0.1)
    ramp_density(model, 0.0, 0.5)
    total = sum(score.numel() for _, _, score in masked_weights(model))

    def kept() -> int:
        return sum(int(module.weight.count_nonzero()) for module in (model[0], model[3]))

    assert kept() == int(0.5 * total + 0.5)
    assert sum(map(sum, codes(model))) == int(0.1 * total + 0.5)
    merged = merge_(copy.deepcopy(model))
    assert sum(int(merged[place].weight.count_nonzero()) for place in (0, 3)) == int(0.1 * total + 0.5)
    model.eval()
    assert kept() == int(0.1 * total + 0.5)
    model.train()
    ramp_density(model, 0.5, 0.5)
    assert kept() == int(0.1 * total + 0.5)


def test_the_ramp_falls_from_one_half_and_arrives() -> None:
    way = [training_density(0.1, step / 20, 0.5) for step in range(21)]
    assert way[0] == 0.5
    assert all(later <= earlier for earlier, later in itertools.pairwise(way))
    assert way[10:] == [0.1] * 11
    assert way[5] == pytest.approx(0.1 + 0.4 / 8)
    assert training_density(0.7, 0.0, 0.5) == 0.7
    assert training_density(0.1, 0.0, 0.0) == 0.1


@pytest.mark.parametrize("scale", ["tensor", "channel"])
def test_one_forward_and_backward_look_for_the_cut_once(scale: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from pemn_compress.learners import group

    looked: list[int] = []
    real = group.find_margin
    monkeypatch.setattr(group, "find_margin", lambda found, count: (looked.append(count), real(found, count))[1])
    model = net(0.3, scale=scale)
    looked.clear()
    for step in range(1, 4):
        model(images()).square().sum().backward()
        assert len(looked) == step


def test_a_merged_model_keeps_no_trace() -> None:
    model, plain = merge_(net(0.3)), nn.Sequential(nn.Linear(2, 2))
    for hooks in ("_forward_pre_hooks", "_forward_hooks", "_forward_hooks_always_called"):
        assert getattr(model, hooks) == getattr(plain, hooks)


def test_another_learner_has_no_ramp() -> None:
    with pytest.raises(PemnError, match="density_ramp needs a model masked with learner 'topk-global', found none"):
        ramp_density(mask_(nn.Linear(4, 4)), 0.1, 0.5)


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")  # torch, at its own breaks
def test_it_traces_with_breaks() -> None:
    model = net(0.3)
    expected = model(images())
    assert torch.equal(torch.compile(model, backend="aot_eager")(images()), expected)


def test_tensors_of_no_model_stand_alone_each() -> None:
    group = Group()
    learners = [GlobalTopK("keep", 0.5, 1.0, group=group, index=index) for index in range(2)]
    scores = [torch.linspace(0.1, 1, 10), torch.linspace(1, 10, 10)]
    found = GlobalTopK.comparisons(learners, scores)
    assert found == [learner.comparison(score) for learner, score in zip(learners, scores, strict=True)]
    assert found[0] != found[1]


def test_tensors_of_two_models_compete_within_each() -> None:
    masks = [masked_weights(net(density))[1] for density in (0.3, 0.3)]
    with torch.no_grad():
        masks[1][2].mul_(3)
    learners, scores = [mask.learner for _, mask, _ in masks], [score for *_, score in masks]
    found = GlobalTopK.comparisons(learners, scores)
    assert found == [learner.comparison(score) for learner, score in zip(learners, scores, strict=True)]
    assert found[0] != found[1]
