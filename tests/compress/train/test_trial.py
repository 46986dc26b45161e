"""The width of a net for a budget rests on what the masks of a short run saved."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pytest
from recorder import Recorder

from pemn_compress.config import MaskConfig
from pemn_compress.data import Splits, load_data
from pemn_compress.export import export_run
from pemn_compress.masking import mask_
from pemn_compress.models import build
from pemn_compress.plan import planned
from pemn_compress.saving import save_model
from pemn_compress.train.job import start
from pemn_compress.train.presets import resolve
from pemn_compress.train.progress import Progress
from pemn_compress.train.run import RunFolder
from pemn_compress.train.run_config import RunConfig
from pemn_compress.train.subset import stratified_subset
from pemn_compress.train.trial import planned_for, tried
from pemn_formats.errors import PemnError


def splits(train: int = 0) -> Splits:
    found = load_data("digits", validation=0.1, seed=0)
    return dataclasses.replace(found, train=stratified_subset(found.train, train, 0)) if train else found


def options(**chosen: Any) -> RunConfig:
    return resolve(None, {"budget": 4_000, "threads": 1, **chosen})


def test_a_run_gets_a_wider_net_than_its_shapes_promise() -> None:
    images, notes = splits(), list[str]()
    tried = planned_for(options(), images, notes.append)
    by_shape = planned(options(), images.spec.to_input())
    assert int(tried.model_args["hidden"]) > int(by_shape.model_args["hidden"])
    assert tried.model_args["depth"] == by_shape.model_args["depth"]
    assert "with 10 % of the steps" in notes[0]
    assert "bits a weight" in notes[1]
    assert planned_for(options(), images) == tried


def test_a_run_of_a_few_steps_is_tried_with_all_of_them() -> None:
    few = options(budget=12_000, epochs=1)
    images, notes = splits(), list[str]()
    chosen = planned_for(few, images, notes.append)
    assert int(chosen.model_args["hidden"]) > int(planned(few, images.spec.to_input(), saved=0.1).model_args["hidden"])
    assert "with 100 % of the steps" in notes[0]


@pytest.mark.parametrize(
    "chosen",
    [{"model_args": {"hidden": 100}}, {"learner": "topk"}, {"budget": None}],
    ids=["width given", "fixed density", "no budget"],
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
    found = tried(asked, bare)
    assert 0 <= found.saved < 0.5
    assert found.saved + found.bits == pytest.approx(1, abs=0.002)  # masks as they stand fill up their last bytes


def test_ternary_masks_save_of_two_bits_a_weight() -> None:
    images = splits(600)
    found = tried(planned(options(epochs=2, alphabet="ternary"), images.spec.to_input()), images)
    assert found.saved + found.bits == pytest.approx(2, abs=0.002)
    assert 1 < found.bits < 1.7


def test_a_trial_is_watched() -> None:
    watcher, opened = Recorder(), list[int]()

    def watch(epochs: int) -> AbstractContextManager[Progress]:
        opened.append(epochs)
        return nullcontext(watcher)

    images = splits()
    tried = planned_for(options(epochs=30), images, watch=watch)
    assert opened == [3]
    assert [report.epoch for report in watcher.epochs] == [1, 2, 3]
    assert tried == planned_for(options(epochs=30), images)


def test_a_trial_that_is_interrupted_leaves_nothing_and_the_name_is_held_meanwhile(tmp_path: Path) -> None:
    asked = options(epochs=30)

    @contextmanager
    def watch(epochs: int) -> Iterator[Progress]:
        for force in (False, True):
            with pytest.raises(PemnError, match=r"the run .*r is being started or trained by another process; wait"):
                start(asked, runs=tmp_path, name="r", force=force)
        yield Recorder(stop_in=2)

    with pytest.raises(KeyboardInterrupt):
        start(asked, runs=tmp_path, name="r", watch=watch)
    assert list(tmp_path.iterdir()) == []


def of_other_classes(folder: Path) -> Path:
    net = mask_(build("mlp", hidden=8, depth=1, channels=1, image=8, classes=7), MaskConfig())
    save_model(net, folder / "teacher.pemn")
    return folder / "teacher.pemn"


@pytest.mark.parametrize(
    ("teacher", "message"),
    [
        (of_other_classes, r"teacher .*teacher.pemn: the model returns \(\d+, 7\) for"),
        (lambda folder: shutil.copy(__file__, folder / "t.pemn"), r"teacher .*t.pemn"),
        (lambda folder: shutil.copy(__file__, folder / "t.pt"), "holds the weights of a net of one width, and the bud"),
        (lambda folder: folder, "a folder without config.json is no run"),
        (lambda folder: folder / "none", "teacher .*none is not there"),
    ],
    ids=["other classes", "no model", "weights alone", "no run", "missing"],
)
def test_a_teacher_is_refused_before_anything_is_tried(
    tmp_path: Path, teacher: Callable[[Path], Path], message: str
) -> None:
    asked = options(epochs=30, teacher=str(teacher(tmp_path)))
    with pytest.raises(PemnError, match=message):
        start(asked, runs=tmp_path / "runs", name="r", watch=lambda epochs: pytest.fail("it was tried"))
    assert not (tmp_path / "runs" / "r").exists()


@pytest.mark.slow
@pytest.mark.parametrize("budget", [4_000, 7_000])
def test_full_training_on_the_digits_uses_a_budget(tmp_path: Path, budget: int) -> None:
    start(options(budget=budget), runs=tmp_path, name="r").train()
    report = export_run(RunFolder.open(tmp_path / "r"), tmp_path / "m.pemn")
    assert 0.97 * budget <= (tmp_path / "m.pemn").stat().st_size <= budget
    assert report.after is not None
    assert report.after.accuracy > 96
