from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from recorder import Recorder, assert_same
from torch import nn

from pemn_compress.config import MaskConfig
from pemn_compress.masking import mask_
from pemn_compress.train.averaging import Average
from pemn_compress.train.evaluate import evaluate
from pemn_compress.train.job import resume, start
from pemn_compress.train.run import RunFolder
from pemn_compress.train.run_config import RunConfig


def net() -> nn.Module:
    return nn.Sequential(mask_(nn.Linear(4, 3), MaskConfig(scale="channel")), nn.BatchNorm1d(3))


def test_averages_follow_the_formula() -> None:
    model = net()
    average = Average(model, 0.9)
    wanted = {name: value.clone() for name, value in model.state_dict().items()}
    for update in range(1, 200):
        with torch.no_grad():
            for value in model.parameters():
                value.normal_(generator=torch.Generator().manual_seed(update))
        model.train()(torch.randn(5, 4, generator=torch.Generator().manual_seed(update)))
        average.update()
        past = min(0.9, (1 + update) / (10 + update))
        for name, value in model.state_dict().items():
            wanted[name] = past * wanted[name] + (1 - past) * value if value.is_floating_point() else value.clone()
    assert "1.running_var" in wanted
    with average.applied():
        for name, value in model.state_dict().items():
            torch.testing.assert_close(value, wanted[name], rtol=1e-5, atol=1e-6)
    assert int(model.state_dict()["1.num_batches_tracked"]) == 199


def test_the_models_own_weights_come_back_bit_for_bit_even_after_an_error() -> None:
    model = net()
    average = Average(model, 0.5)
    with torch.no_grad():
        for value in model.parameters():
            value.mul_(3)
    average.update()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    places = {name: value.data_ptr() for name, value in model.state_dict().items()}

    def fail() -> None:
        with average.applied():
            assert not model.state_dict()["1.weight"].equal(before["1.weight"])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert all(value.equal(before[name]) for name, value in model.state_dict().items())
    assert places == {name: value.data_ptr() for name, value in model.state_dict().items()}


def test_without_decay_nothing_is_held() -> None:
    average = Average(net(), 0.0)
    average.update()
    assert average.state_dict() == {}
    average.load_state_dict({})


def test_what_is_evaluated_chosen_and_kept_is_the_average(tiny: RunConfig, tmp_path: Path) -> None:
    options = dataclasses.replace(tiny, train=dataclasses.replace(tiny.train, ema=0.9))
    job = start(options, runs=tmp_path, name="averaged")
    watcher = Recorder()
    result = job.train(watcher)
    plain = start(tiny, runs=tmp_path, name="plain")
    last = Recorder()
    plain.train(last)
    assert [report.train_loss for report in watcher.epochs] == [report.train_loss for report in last.epochs]
    assert [report.validation_loss for report in watcher.epochs] != [report.validation_loss for report in last.epochs]
    assert evaluate(job.run.build_model(), job.splits.validation, job.splits.spec) == result.validation
    found = job.run.newest_checkpoint(pytest.fail)
    kept = plain.run.newest_checkpoint(pytest.fail)
    assert found is not None
    assert kept is not None
    assert all(value.equal(kept["model"][name]) for name, value in found["model"].items())


def test_a_resumed_average_goes_on_where_it_stood(tiny: RunConfig, tmp_path: Path) -> None:
    options = dataclasses.replace(tiny, train=dataclasses.replace(tiny.train, ema=0.95))
    whole = start(options, runs=tmp_path, name="whole")
    whole.train()
    cut = start(options, runs=tmp_path, name="cut")
    with pytest.raises(KeyboardInterrupt):
        cut.train(Recorder(stop_in=3))
    resume(RunFolder.open(cut.run.path)).train()
    assert_same(whole.run, cut.run)
