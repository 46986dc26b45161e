from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import pytest
import torch
from recorder import Recorder
from torch import nn

from pemn_compress.config import MaskConfig
from pemn_compress.masking import mask_, masked_weights
from pemn_compress.train.config import TrainConfig
from pemn_compress.train.dense_start import start_from_
from pemn_compress.train.job import Job, resume, start
from pemn_compress.train.run_config import RunConfig
from pemn_formats.errors import PemnError


def net() -> nn.Sequential:
    return nn.Sequential(nn.Linear(12, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))


@pytest.mark.parametrize("distribution", ["signed", "normal"])
@pytest.mark.parametrize("scale", ["tensor", "channel"])
def test_masked_weights_take_the_dense_signs_and_the_rest_its_values(distribution: str, scale: str) -> None:
    torch.manual_seed(0)
    dense = net()
    dense(torch.randn(9, 12))
    state = dense.state_dict()
    model = mask_(net(), MaskConfig(alphabet="sign", distribution=distribution, scale=scale))
    assert start_from_(model, state) is model
    for name, weight, score in masked_weights(model):
        assert weight(score).sign().equal(state[name].sign())
        size = float(score.detach().square().mean().sqrt())
        assert size == pytest.approx(weight.learner.bound / math.sqrt(3), rel=1e-5)
        if (scale, distribution) == ("channel", "signed"):
            torch.testing.assert_close(weight.scale.detach(), state[name].abs().mean(1))
    for name, value in model.state_dict().items():
        assert "parametrizations" in name or value.equal(state[name])


def test_the_learned_scale_is_the_best_one() -> None:
    torch.manual_seed(1)
    dense = net().state_dict()
    model = mask_(net(), MaskConfig(alphabet="sign", distribution="normal", scale="channel"))
    start_from_(model, dense)
    name, weight, score = masked_weights(model)[0]

    def error(factor: float) -> float:
        return float((factor * weight(score).detach() - dense[name]).square().sum())

    assert error(1.0) < min(error(0.98), error(1.02))


def test_a_tensor_of_zeros_keeps_its_scores_and_scale() -> None:
    dense = {name: torch.zeros_like(value) for name, value in net().state_dict().items()}
    model = mask_(net(), MaskConfig(alphabet="sign", scale="channel"))
    before = [(score.detach().clone(), weight.scale.detach().clone()) for _, weight, score in masked_weights(model)]
    start_from_(model, dense)
    for (_, weight, score), (kept, scale) in zip(masked_weights(model), before, strict=True):
        assert score.equal(kept)
        assert weight.scale.equal(scale)


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (MaskConfig(), "alphabet sign and learner threshold, found keep and threshold, to which they are no help"),
        (MaskConfig(alphabet="sign", learner="topk"), "found sign and topk"),
    ],
)
def test_masks_that_dense_weights_do_not_help_are_refused(mask: MaskConfig, message: str) -> None:
    with pytest.raises(PemnError, match=message):
        start_from_(mask_(net(), mask), net().state_dict())


def test_weights_of_another_net_are_refused_untouched() -> None:
    dense = net().state_dict()
    model = mask_(net(), MaskConfig(alphabet="sign"))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    for wrong, message in (
        (
            {**dense, "9.weight": dense["0.weight"]},
            "9.weight'? is in the dense weights, not in the model; give",
        ),
        (
            {name: dense[name] for name in list(dense)[1:]},
            "0.weight'? is in the model, not in the dense weights; give",
        ),
        ({**dense, "0.bias": torch.zeros(9)}, r"'?0.bias'? has shape \[9\] in the dense weights, \[8\] in the model"),
        (
            {**dense, "0.weight": dense["0.weight"] * math.nan},
            "0.weight'? of the dense weights has values that are no",
        ),
    ):
        with pytest.raises(PemnError, match=message):
            start_from_(model, wrong)
        assert all(value.equal(before[name]) for name, value in model.state_dict().items())


@pytest.fixture
def dense(tiny: RunConfig, tmp_path: Path) -> Job:
    job = start(dataclasses.replace(tiny, mask=None), runs=tmp_path, name="dense")
    job.train()
    return job


@pytest.mark.parametrize("mask", [None, MaskConfig(strategy="rp", alphabet="sign")])
def test_a_run_starts_from_a_dense_one(tiny: RunConfig, dense: Job, tmp_path: Path, mask: MaskConfig | None) -> None:
    train = TrainConfig(epochs=1, batch_size=32, lr=1e-9)
    job = start(dataclasses.replace(tiny, mask=mask, init_from="dense", train=train), runs=tmp_path, name="later")
    best = dense.run.build_model().state_dict()
    if mask is None:
        assert all(value.equal(best[name]) for name, value in job.model.state_dict().items())
    result = job.train()
    assert result.test.accuracy > (60 if mask is None else 30)
    assert json_of(job)["sources"].keys() == {"init_from"}


def json_of(job: Job) -> dict[str, object]:
    return job.run.config


def test_only_a_run_without_checkpoint_needs_its_start_again(tiny: RunConfig, dense: Job, tmp_path: Path) -> None:
    options = dataclasses.replace(tiny, mask=MaskConfig(alphabet="sign"), init_from="dense")
    early = start(options, runs=tmp_path, name="early")
    late = start(options, runs=tmp_path, name="late")
    with pytest.raises(KeyboardInterrupt):
        late.train(Recorder(stop_in=2))
    again = resume(early.run)
    for (_, _, score), (_, _, expected) in zip(masked_weights(again.model), masked_weights(early.model), strict=True):
        assert score.equal(expected)
    dense.run.path.rename(tmp_path / "moved")
    resume(late.run).train()
    with pytest.raises(PemnError, match=r"dense start /.*/dense is not there"):
        resume(early.run)
