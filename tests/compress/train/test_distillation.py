from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from recorder import Recorder, assert_same
from safetensors.torch import save_file
from torch import nn

from pemn_compress.bundles import save_bundle
from pemn_compress.config import MaskConfig
from pemn_compress.saving import save_model
from pemn_compress.train.config import TrainConfig
from pemn_compress.train.distillation import Distillation
from pemn_compress.train.job import Job, resume, start
from pemn_compress.train.objective import Objective
from pemn_compress.train.run import RunFolder
from pemn_compress.train.run_config import RunConfig
from pemn_formats.errors import PemnError


@pytest.fixture
def teacher(tiny: RunConfig, tmp_path: Path) -> Job:
    """A dense run of the same net, finished."""
    job = start(dataclasses.replace(tiny, mask=None), runs=tmp_path, name="teacher")
    job.train()
    return job


def taught(tiny: RunConfig, teacher: str, **recipe: float) -> RunConfig:
    return dataclasses.replace(tiny, teacher=teacher, train=dataclasses.replace(tiny.train, **recipe))  # type: ignore[arg-type]


def test_the_loss_is_hintons() -> None:
    images = torch.randn(5, 4, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([0, 1, 2, 0, 1])
    student, teacher = nn.Linear(4, 3), nn.Linear(4, 3)
    config = TrainConfig(teacher_weight=0.3, teacher_temperature=4.0)
    loss, output = Objective(student, config, 3, teacher=teacher)(student, images, labels, 0)
    soft, answers = (output / 4).softmax(1), (teacher(images) / 4).softmax(1)
    apart = (answers * (answers / soft).log()).sum(1).mean()
    hard = -output.softmax(1)[range(5), labels].log().mean()
    torch.testing.assert_close(loss, 0.7 * hard + 0.3 * 16 * apart)
    torch.testing.assert_close(output, student(images))


def test_the_teacher_is_never_changed() -> None:
    teacher = nn.Sequential(nn.Flatten(), nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Dropout(0.5)).train()
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    output = torch.zeros(8, 3, requires_grad=True)
    loss = Distillation(teacher, 1.0, 2.0)(output.sum(), output, torch.randn(8, 4))
    torch.autograd.backward(loss)
    assert not teacher.training
    assert all(parameter.grad is None for parameter in teacher.parameters())
    assert all(value.equal(before[name]) for name, value in teacher.state_dict().items())
    assert output.grad is not None


def as_run(job: Job, folder: Path) -> str:
    return str(job.run.path)


def by_name(job: Job, folder: Path) -> str:
    return job.run.path.name


def as_safetensors(job: Job, folder: Path) -> str:
    save_file(job.model.state_dict(), folder / "dense.safetensors")
    return str(folder / "dense.safetensors")


def as_pickle(job: Job, folder: Path) -> str:
    torch.save({"model": job.model.state_dict(), "epoch": 3}, folder / "dense.pt")
    return str(folder / "dense.pt")


def as_bundle(job: Job, folder: Path) -> str:
    save_bundle({name: as_file(job, folder / name) for name in ("one", "two")}, folder / "both.pemn")
    return str(folder / "both.pemn")


def as_file(job: Job, folder: Path) -> str:
    masked = start(dataclasses.replace(job.options, mask=MaskConfig()), runs=folder, name="masked")
    save_model(masked.model, folder / "net.pemn", input=job.splits.spec.to_input())
    return str(folder / "net.pemn")


@pytest.mark.parametrize("place", [as_run, by_name, as_safetensors, as_pickle, as_file])
def test_a_teacher_is_found_wherever_it_is(
    tiny: RunConfig, teacher: Job, tmp_path: Path, place: Callable[[Job, Path], str]
) -> None:
    job = start(taught(tiny, place(teacher, tmp_path)), runs=tmp_path, name="pupil")
    assert job.teacher is not None
    assert Path(json.loads((job.run.path / "config.json").read_text())["options"]["teacher"]).is_absolute()
    if place is not as_file:
        best = teacher.run.build_model().state_dict()
        assert all(value.equal(best[name]) for name, value in job.teacher.state_dict().items())


def test_a_bundle_is_no_teacher(tiny: RunConfig, teacher: Job, tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    with pytest.raises(PemnError, match=r"teacher .*both.pemn: it is a bundle of 2 models; give a file of one"):
        start(taught(tiny, as_bundle(teacher, tmp_path)), runs=tmp_path, name="pupil")


def test_a_wholly_taught_pupil_answers_as_its_teacher(tiny: RunConfig, teacher: Job, tmp_path: Path) -> None:
    job = start(dataclasses.replace(taught(tiny, "teacher", teacher_weight=1.0), mask=None), runs=tmp_path)
    result = job.train()
    assert result.test.accuracy > 60


def test_a_resumed_pupil_finds_its_teacher_and_the_same_bits(tiny: RunConfig, teacher: Job, tmp_path: Path) -> None:
    options = taught(tiny, "teacher", ema=0.9)
    whole = start(options, runs=tmp_path, name="whole")
    whole.train()
    cut = start(options, runs=tmp_path, name="cut")
    with pytest.raises(KeyboardInterrupt):
        cut.train(Recorder(stop_in=2))
    moved = teacher.run.path.rename(tmp_path / "elsewhere")
    with pytest.raises(PemnError, match=r"teacher /.*/teacher is not there: no such run or file here, and no such run"):
        resume(RunFolder.open(cut.run.path))
    resume(RunFolder.open(cut.run.path), dataclasses.replace(cut.options, teacher=str(moved))).train()
    assert_same(whole.run, cut.run)


def test_another_teacher_than_at_the_start_is_refused(tiny: RunConfig, teacher: Job, tmp_path: Path) -> None:
    cut = start(taught(tiny, "teacher"), runs=tmp_path, name="cut")
    other = dataclasses.replace(teacher.options, train=dataclasses.replace(teacher.options.train, seed=1))
    start(other, runs=tmp_path, name="teacher", force=True).train()
    with pytest.raises(PemnError, match=r"teacher .*/teacher has not the weights it had when the run was started"):
        resume(cut.run)


def test_a_pupil_does_not_replace_its_teacher(tiny: RunConfig, teacher: Job, tmp_path: Path) -> None:
    with pytest.raises(PemnError, match=r"teacher cannot be replaced by a run that needs its net; choose"):
        start(taught(tiny, "teacher"), runs=tmp_path, name="teacher", force=True)
    assert teacher.run.has_best()


def test_a_teacher_of_other_classes_or_images_is_refused(tiny: RunConfig, teacher: Job, tmp_path: Path) -> None:
    config = tmp_path / "teacher" / "config.json"
    known = json.loads(config.read_text())
    for change, message in (
        (
            {"mean": ["0.5"]},
            r"teacher .*/teacher: it was trained for images with mean \['0.5'\], this run's have ",
        ),
        ({"classes": 3}, r"teacher .*/teacher: it was trained for images with classes 3, this run's have 10"),
    ):
        config.write_text(json.dumps({**known, "input": {**known["input"], **change}}))
        with pytest.raises(PemnError, match=message):
            start(taught(tiny, "teacher"), runs=tmp_path, name="pupil")
    assert not (tmp_path / "pupil").exists()


@pytest.mark.parametrize(
    ("content", "name", "message"),
    [
        (None, "gone", "teacher gone is not there: no such run or file here, and no such run in "),
        (None, ".", "a folder without config.json is no run"),
        (b"", "net.onnx", "teacher .*net.onnx: expected a run folder, .pemn, .safetensors or .pt, .pth, .ckpt"),
        (b"hello", "net.pt", "teacher .*net.pt: it is no state dict of torch .KeyError: "),
        (b"hello", "net.safetensors", "teacher .*net.safetensors: it is no safetensors file: "),
        (b"hello", "net.pemn", "teacher .*net.pemn: "),
    ],
)
def test_what_is_no_teacher_is_named_in_one_line(
    tiny: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes | None, name: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    if content is not None:
        Path(name).write_bytes(content)
    with pytest.raises(PemnError, match=message) as raised:
        start(taught(tiny, name), runs=tmp_path / "runs")
    assert "\n" not in str(raised.value)
    shutil.rmtree(tmp_path / "runs", ignore_errors=True)


def test_a_state_dict_of_another_net_is_refused(tiny: RunConfig, teacher: Job, tmp_path: Path) -> None:
    wider = dataclasses.replace(taught(tiny, as_pickle(teacher, tmp_path)), model_args={"hidden": 24, "depth": 1})
    with pytest.raises(PemnError, match=r"dense.pt: it does not fit the dense twin of this run's model: .*size mis"):
        start(wider, runs=tmp_path)
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(PemnError, match=r"list.pt: it holds no state dict: expected tensors by name"):
        start(taught(tiny, str(tmp_path / "list.pt")), runs=tmp_path)


def test_an_unfinished_teacher_is_refused(tiny: RunConfig, tmp_path: Path) -> None:
    start(tiny, runs=tmp_path, name="empty")
    with pytest.raises(PemnError, match=r"teacher: .*/empty has no finished epoch; go on with"):
        start(taught(tiny, "empty"), runs=tmp_path)
