from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from PIL import Image
from recorder import Recorder, assert_same
from torch import nn

from pemn_compress.config import MaskConfig
from pemn_compress.data import Splits
from pemn_compress.masking import masked_weights
from pemn_compress.train.building import build_model
from pemn_compress.train.config import TrainConfig
from pemn_compress.train.evaluate import evaluate
from pemn_compress.train.job import resume, start
from pemn_compress.train.loop import fit
from pemn_compress.train.optimizer import build_optimizer
from pemn_compress.train.run import RunFolder
from pemn_compress.train.run_config import RunConfig
from pemn_formats.errors import PemnError


@pytest.mark.parametrize("mask", [None, MaskConfig(), MaskConfig(learner="topk", scale="channel")])
def test_a_run_learns_and_leaves_its_best_weights(tiny: RunConfig, tmp_path: Path, mask: MaskConfig | None) -> None:
    watcher = Recorder()
    job = start(dataclasses.replace(tiny, mask=mask), runs=tmp_path)
    result = job.train(watcher)
    assert result.validation is not None
    assert result.validation.accuracy > 60
    assert result.test.accuracy > 60
    assert (result.test.count, result.epochs) == (359, 3)
    best = watcher.epochs[result.best_epoch - 1]
    assert best.validation_accuracy == max(report.validation_accuracy or 0 for report in watcher.epochs)
    assert evaluate(job.model, job.splits.validation, job.splits.spec) == result.validation
    assert evaluate(job.run.build_model(), job.splits.test, job.splits.spec) == result.test
    assert job.run.result == result.to_dict()
    assert [record["epoch"] for record in job.run.metrics()] == [1, 2, 3]
    assert (best.density is None) == (mask is None)
    assert watcher.steps[-1].step == watcher.steps[-1].steps == 7


@pytest.mark.parametrize(
    "recipe",
    [
        {"shift": 1, "flip": True},
        {"crop_scale": 0.6, "randaugment_n": 1, "jitter": 0.3, "erasing": 0.5, "grad_clip": 1.0},
        {"schedule": "piecewise", "label_smoothing": 0.1, "amp": "bfloat16"},
    ],
)
def test_an_interrupted_run_ends_where_an_uninterrupted_one_does(
    tiny: RunConfig, tmp_path: Path, recipe: dict[str, object]
) -> None:
    options = dataclasses.replace(tiny, train=dataclasses.replace(tiny.train, **recipe))  # type: ignore[arg-type]
    whole = start(options, runs=tmp_path, name="whole")
    expected = whole.train()
    cut = start(options, runs=tmp_path, name="cut")
    with pytest.raises(KeyboardInterrupt):
        cut.train(Recorder(stop_in=3))
    torch.manual_seed(99)
    found = resume(RunFolder.open(tmp_path / "cut")).train()
    assert_same(whole.run, cut.run)
    assert dataclasses.replace(found, seconds=0) == dataclasses.replace(expected, seconds=0)


@pytest.mark.parametrize("scale", ["tensor", "channel"])
def test_a_ramp_of_density_and_learned_values_are_resumed(tiny: RunConfig, tmp_path: Path, scale: str) -> None:
    mask = MaskConfig(strategy="rp", values=9, learn_values=True, learner="topk-global", density=0.1, scale=scale)
    options = dataclasses.replace(tiny, mask=mask, train=dataclasses.replace(tiny.train, density_ramp=0.8))
    whole = start(options, runs=tmp_path, name="whole")
    expected = whole.train()
    cut = start(options, runs=tmp_path, name="cut")
    with pytest.raises(KeyboardInterrupt):
        cut.train(Recorder(stop_in=3))
    found = resume(RunFolder.open(tmp_path / "cut")).train()
    assert_same(whole.run, cut.run)
    assert dataclasses.replace(found, seconds=0) == dataclasses.replace(expected, seconds=0)
    assert [round(record["density"], 3) for record in whole.run.metrics()] == [0.1, 0.1, 0.1]
    vector = masked_weights(whole.run.build_model())[0][1].vector
    assert vector is not None
    assert len(vector.unique()) == 9


def test_a_ramp_is_for_the_global_learner(tiny: RunConfig) -> None:
    train = dataclasses.replace(tiny.train, density_ramp=0.5)
    for mask, learner in ((None, "None"), (MaskConfig(learner="topk"), "'topk'")):
        with pytest.raises(PemnError, match=f"density_ramp belongs to learner 'topk-global', found learner {learner}"):
            dataclasses.replace(tiny, mask=mask, train=train)


def test_dropout_is_the_same_after_resuming(digits: Splits, tmp_path: Path, tiny: RunConfig) -> None:
    def net() -> nn.Module:
        torch.manual_seed(0)
        return nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.Dropout(0.5), nn.ReLU(), nn.Linear(16, 10))

    runs = []
    for name, stop_in in (("whole", 0), ("cut", 2)):
        run = start(tiny, runs=tmp_path, name=name).run
        if stop_in:
            with pytest.raises(KeyboardInterrupt):
                fit(net(), digits, tiny.train, run=run, progress=Recorder(stop_in))
        fit(net(), digits, tiny.train, run=run, resume=bool(stop_in))
        runs.append(run)
    assert_same(*runs)


def test_a_run_killed_before_its_first_checkpoint_begins_again(tiny: RunConfig, tmp_path: Path) -> None:
    job = start(tiny, runs=tmp_path)
    with pytest.raises(KeyboardInterrupt):
        job.train(Recorder(stop_in=1))
    job.run.add_metrics({"epoch": 1})
    resume(job.run).train()
    assert [record["epoch"] for record in job.run.metrics()] == [1, 2, 3]


def test_a_damaged_checkpoint_is_passed_over(tiny: RunConfig, tmp_path: Path) -> None:
    whole = start(tiny, runs=tmp_path, name="whole")
    whole.train()
    cut = start(tiny, runs=tmp_path, name="cut")
    with pytest.raises(KeyboardInterrupt):
        cut.train(Recorder(stop_in=3))
    newest = cut.run.path / "checkpoint-000002.pt"
    newest.write_bytes(newest.read_bytes()[:-1])
    watcher = Recorder()
    resume(cut.run).train(watcher)
    assert len(watcher.notes) == 1
    assert "checkpoint-000002.pt is damaged" in watcher.notes[0]
    assert [report.epoch for report in watcher.epochs] == [2, 3]
    assert_same(whole.run, cut.run)


def test_equal_seeds_give_equal_scores_and_others_do_not(tiny: RunConfig, digits: Splits) -> None:
    def scores(seed: int) -> torch.Tensor:
        train = dataclasses.replace(tiny.train, epochs=1, seed=seed)
        options = dataclasses.replace(tiny, train=train)
        model = build_model(options, digits.spec.to_input())
        fit(model, digits, train)
        return torch.cat([score.detach().flatten() for _, _, score in masked_weights(model)])

    assert scores(1).equal(scores(1))
    assert not scores(1).equal(scores(2))


def test_training_leaves_the_random_state_and_threads_alone(tiny: RunConfig, digits: Splits) -> None:
    model = build_model(tiny, digits.spec.to_input())
    before = torch.get_rng_state()
    fit(model, digits, dataclasses.replace(tiny.train, epochs=1, threads=2))
    assert torch.get_rng_state().equal(before)
    assert torch.get_num_threads() == 1


def test_the_test_images_choose_only_when_asked(tiny: RunConfig, digits: Splits) -> None:
    model = build_model(tiny, digits.spec.to_input())
    watcher = Recorder()
    result = fit(model, digits, TrainConfig(epochs=2, select_on="test"), progress=watcher)
    assert result.selected_on == "test"
    assert result.test.accuracy == max(report.test_accuracy or 0 for report in watcher.epochs)


def test_a_loss_that_is_no_number_stops_the_run(digits: Splits, tiny: RunConfig, tmp_path: Path) -> None:
    class Breaks(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.calls, self.fc = 0, nn.Linear(64, 10)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            self.calls += self.training
            output: torch.Tensor = self.fc(images.flatten(1))
            return output * float("nan") if self.calls == 10 else output

    run = start(tiny, runs=tmp_path).run
    message = "the loss became nan in epoch 2, step 3 of 7: lower the learning rate .now 0.02. .*after epoch 1 is in"
    with pytest.raises(PemnError, match=message):
        fit(Breaks(), digits, tiny.train, run=run)
    assert (run.path / "checkpoint-000001.pt").is_file()


def test_no_held_out_images_are_refused_before_training(digits: Splits) -> None:
    empty = dataclasses.replace(digits, validation=digits.validation.subset([]))
    with pytest.raises(PemnError, match=r"no validation images to choose the best epoch on"):
        fit(nn.Linear(1, 1), empty, TrainConfig())


def test_a_failed_start_leaves_nothing(tiny: RunConfig, tmp_path: Path) -> None:
    for wrong in ({"model": "mpl"}, {"data": "didgits"}, {"model_args": {"classes": 3}}, {"limit_train": 9999}):
        with pytest.raises(
            PemnError, match=r"unknown model|unknown data|classes is 3, but data digits has 10|limit_train"
        ):
            start(dataclasses.replace(tiny, **wrong), runs=tmp_path)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        (("a",), "has images of 1 class, and learning takes at least 2 to tell apart"),
        (
            ("a", "b"),
            r"no validation images .*; hold some out \(of each class with at least 2 images\), or select on test",
        ),
    ],
)
def test_images_that_cannot_be_learned_from_leave_no_run(
    classes: tuple[str, ...], message: str, tiny: RunConfig, tmp_path: Path
) -> None:
    for part in ("train", "test"):
        for number, name in enumerate(classes):
            (tmp_path / "images" / part / name).mkdir(parents=True)
            Image.new("RGB", (8, 8), (99 * number, 9, 9)).save(tmp_path / "images" / part / name / "0.png")
    options = dataclasses.replace(tiny, data=f"folder:{tmp_path / 'images'}", limit_train=None)
    with pytest.raises(PemnError, match=message):
        start(options, runs=tmp_path / "runs", name="a")
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("data", "model", "mask", "stem"),
    [
        ("digits", "mlp", MaskConfig(strategy="rp"), "digits-mlp-rp-0"),
        ("digits", "mlp", None, "digits-mlp-dense-0"),
        ("digits", "torchvision.resnet18", MaskConfig(strategy="mp"), "digits-resnet18-mp-0"),
    ],
)
def test_runs_are_named_after_their_options(data: str, model: str, mask: MaskConfig | None, stem: str) -> None:
    from pemn_compress.train.job import run_name

    assert run_name(RunConfig(data=data, model=model, mask=mask)) == stem
    assert run_name(RunConfig(data="folder:/a/my photos", model="my.nets:Net", mask=mask)).startswith("my_photos-Net-")


def test_all_that_trains_is_one_group_and_what_is_frozen_is_in_none(tiny: RunConfig, digits: Splits) -> None:
    model = build_model(tiny, digits.spec.to_input())
    next(model.parameters()).requires_grad_(False)
    (group,) = build_optimizer(model, TrainConfig()).param_groups
    assert [id(each) for each in group["params"]] == [id(each) for each in list(model.parameters())[1:]]


def test_a_device_that_is_not_there_is_named_before_anything_else(tiny: RunConfig, tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device")
    train = dataclasses.replace(tiny.train, device="cuda")
    with pytest.raises(PemnError, match=r"device cuda was asked for, but torch sees no CUDA device here"):
        start(dataclasses.replace(tiny, train=train), runs=tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("amp", ["auto", "off", "bfloat16"])
def test_training_on_cuda(tiny: RunConfig, tmp_path: Path, amp: str) -> None:
    train = dataclasses.replace(tiny.train, device="cuda", amp=amp, channels_last=True)
    job = start(dataclasses.replace(tiny, train=train), runs=tmp_path)
    with pytest.raises(KeyboardInterrupt):
        job.train(Recorder(stop_in=3))
    result = resume(RunFolder.open(job.run.path)).train()
    assert result.test.accuracy > 60
    on_cpu = evaluate(job.run.build_model(), job.splits.test, job.splits.spec)
    assert abs(on_cpu.correct - result.test.correct) <= 2
