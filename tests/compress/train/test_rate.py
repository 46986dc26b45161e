from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from recorder import Recorder, assert_same
from torch import nn

from pemn_compress.config import MaskConfig
from pemn_compress.data import Splits
from pemn_compress.masking import mask_
from pemn_compress.penalty import penalty
from pemn_compress.train.building import build_model
from pemn_compress.train.config import TrainConfig
from pemn_compress.train.job import resume, start
from pemn_compress.train.loop import fit
from pemn_compress.train.objective import Objective
from pemn_compress.train.rate_control import RateControl
from pemn_compress.train.run import RunFolder
from pemn_compress.train.run_config import RunConfig
from pemn_formats.errors import PemnError


class Rising(RateControl):
    """A price with a memory: a resumed run that forgot it would charge another one."""

    def __init__(self) -> None:
        super().__init__(0.1)

    def price(self, model: nn.Module, step: int, steps: int) -> float:
        assert steps == 21
        self.rate *= 1.05
        return self.rate

    def state_dict(self) -> dict[str, Any]:
        return {"rate": self.rate}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.rate = state["rate"]


@pytest.mark.parametrize("alphabet", ["keep", "ternary"])
def test_the_price_is_per_bit_a_weight_whatever_the_size_of_the_net(alphabet: str) -> None:
    images, labels = torch.ones(2, 40), torch.tensor([0, 1])
    for width in (4, 64):
        model = mask_(nn.Linear(40, width), MaskConfig(alphabet=alphabet))
        objective = Objective(model, TrainConfig(), width, control=RateControl(1.0))
        free, _ = objective(model, images, labels, 0)
        objective.rate = 0.25
        priced, _ = objective(model, images, labels, 0)
        added = float((priced - free).detach())
        assert added == pytest.approx(0.25 * float(penalty(model).detach()) / (40 * width), abs=1e-6)


def test_a_price_buys_fewer_bits(tiny: RunConfig, digits: Splits) -> None:
    bits = []
    for rate in (0.0, 30.0):
        config = dataclasses.replace(tiny.train, rate=rate)
        watcher = Recorder()
        model = build_model(dataclasses.replace(tiny, train=config), digits.spec.to_input())
        fit(model, digits, config, progress=watcher)
        assert [report.rate for report in watcher.epochs] == [rate] * 3
        bits.append(watcher.epochs[-1].bits_per_weight)
    assert bits[0] is not None
    assert bits[1] is not None
    assert bits[0] > 0.97
    assert bits[1] < 0.9


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (MaskConfig(learner="topk"), "learner topk keeps a fixed density, so no rate can be learned; use learner"),
        (None, "rate is the price of a mask's bits, and nothing is masked here; leave it out"),
    ],
)
def test_a_price_without_free_bits_is_refused_at_the_start(
    tiny: RunConfig, digits: Splits, tmp_path: Path, mask: MaskConfig | None, message: str
) -> None:
    options = dataclasses.replace(tiny, mask=mask, train=dataclasses.replace(tiny.train, rate=0.1))
    with pytest.raises(PemnError, match=message):
        start(options, runs=tmp_path)
    assert not list(tmp_path.iterdir())
    with pytest.raises(PemnError, match=message):
        fit(build_model(options, digits.spec.to_input()), digits, tiny.train, rate_control=RateControl(0.1))


def test_a_steered_price_goes_on_where_it_stood(tiny: RunConfig, tmp_path: Path) -> None:
    whole, cut = start(tiny, runs=tmp_path, name="whole"), start(tiny, runs=tmp_path, name="cut")
    fit(whole.model, whole.splits, tiny.train, run=whole.run, rate_control=Rising())
    with pytest.raises(KeyboardInterrupt):
        fit(cut.model, cut.splits, tiny.train, run=cut.run, rate_control=Rising(), progress=Recorder(stop_in=3))
    again = resume(RunFolder.open(cut.run.path))
    fit(again.model, again.splits, tiny.train, run=again.run, resume=True, rate_control=Rising())
    assert_same(whole.run, cut.run)
    assert whole.run.metrics()[-1]["rate"] == pytest.approx(0.1 * 1.05**21)


@pytest.mark.parametrize("admitted", [(True, False, False), (False, False, False)])
def test_an_epoch_that_is_admitted_wins_over_better_ones(
    tiny: RunConfig, digits: Splits, admitted: tuple[bool, ...]
) -> None:
    class Picky(RateControl):
        def __init__(self) -> None:
            super().__init__()
            self.sizes: list[int] = []

        def admits(self, model: nn.Module, size: int) -> bool:
            self.sizes.append(size)
            return admitted[len(self.sizes) - 1]

    watcher, picky = Recorder(), Picky()
    model = build_model(tiny, digits.spec.to_input())
    result = fit(model, digits, tiny.train, progress=watcher, rate_control=picky)
    assert picky.sizes == [report.estimated_bytes for report in watcher.epochs]
    assert max(watcher.epochs, key=lambda report: report.validation_accuracy or 0).epoch > 1
    assert (result.best_epoch == 1) == any(admitted)
    assert [report.epoch for report in watcher.epochs if report.best][-1] == result.best_epoch
