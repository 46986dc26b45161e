"""The width of a net for a budget rests on what the masks of a short run saved."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from pemn_compress.data import Splits, load_data
from pemn_compress.export import export_run
from pemn_compress.plan import planned
from pemn_compress.train.job import start
from pemn_compress.train.presets import resolve
from pemn_compress.train.run import RunFolder
from pemn_compress.train.run_config import RunConfig
from pemn_compress.train.subset import stratified_subset
from pemn_compress.train.trial import planned_for, saved_in_a_trial


def splits(train: int = 0) -> Splits:
    found = load_data("digits", validation=0.1, seed=0)
    return dataclasses.replace(found, train=stratified_subset(found.train, train, 0)) if train else found


def options(**chosen: Any) -> RunConfig:
    return resolve(None, {"budget": 4_000, "threads": 1, **chosen})


def test_a_long_run_gets_a_wider_net_than_its_shapes_promise() -> None:
    images, notes = splits(), list[str]()
    tried = planned_for(options(), images, notes.append)
    by_shape = planned(options(), images.spec.to_input())
    assert int(tried.model_args["hidden"]) > int(by_shape.model_args["hidden"])
    assert tried.model_args["depth"] == by_shape.model_args["depth"]
    assert "with a 10th of the steps" in notes[0]
    assert "% less than a bit a weight" in notes[1]
    assert planned_for(options(), images) == tried


def test_a_run_of_a_few_steps_relies_on_nothing() -> None:
    few = options(budget=12_000, epochs=1)
    images, notes = splits(), list[str]()
    chosen = planned_for(few, images, notes.append)
    assert chosen == planned(few, images.spec.to_input(), saved=0.0)
    assert chosen != planned(few, images.spec.to_input())
    assert not notes


@pytest.mark.parametrize(
    "chosen",
    [{"model_args": {"hidden": 100}}, {"learner": "topk"}, {"epochs": 10}, {"budget": None}],
    ids=["width given", "fixed density", "short", "no budget"],
)
def test_nothing_is_tried(chosen: dict[str, Any]) -> None:
    images, notes = splits(), list[str]()
    asked = options(**{key: value for key, value in chosen.items() if value is not None})
    if "budget" in chosen:
        asked = dataclasses.replace(asked, budget=None)
    assert planned_for(asked, images, notes.append) == planned(asked, images.spec.to_input())
    assert not notes


def test_a_trial_needs_no_test_images_and_no_validation() -> None:
    images = splits(600)
    none = images.train.subset(range(0))
    bare = dataclasses.replace(images, test=none, validation=none)
    asked = planned(options(epochs=5, validation=0.0, select_on="test"), images.spec.to_input())
    assert 0 <= saved_in_a_trial(asked, bare) < 0.5
    assert saved_in_a_trial(asked, bare) * 100 == pytest.approx(round(saved_in_a_trial(asked, bare) * 100))


@pytest.mark.slow
@pytest.mark.parametrize("budget", [4_000, 7_000])
def test_full_training_on_the_digits_uses_a_budget(tmp_path: Path, budget: int) -> None:
    start(options(budget=budget), runs=tmp_path, name="r").train()
    report = export_run(RunFolder.open(tmp_path / "r"), tmp_path / "m.pemn")
    assert 0.97 * budget <= (tmp_path / "m.pemn").stat().st_size <= budget
    assert report.after is not None
    assert report.after.accuracy > 96
