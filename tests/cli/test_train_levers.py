"""The levers of `pemn-compress train`: options reach the run, and another net is found, on resuming too."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

SMALL = ("--model-arg", "hidden=16", "--depth", "1", "--limit-train", "200", "--epochs", "2", "--batch-size", "32")


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    return tmp_path / "runs"


def test_a_pupil_of_a_dense_run_is_trained_resumed_and_exported(run: Any, runs: Path, tmp_path: Path) -> None:
    assert run("train", *SMALL, "--regular", "--run", "dense", "--runs-dir", runs).code == 0
    levers = ("--teacher", "dense", "--teacher-weight", 0.7, "--teacher-temperature", 3, "--init-from", runs / "dense")
    more = ("--alphabet", "sign", "--ema", 0.9, "--mixup", 0.2, "--cutmix", 1, "--rate", 0.01)
    done = run("train", *SMALL, *levers, *more, "--run", "pupil", "--runs-dir", runs)
    assert done.code == 0, done.err
    kept = json.loads((runs / "pupil" / "config.json").read_text())
    train = kept["options"]["train"]
    assert (train["teacher_weight"], train["teacher_temperature"], train["ema"]) == (0.7, 3, 0.9)
    assert (train["mixup"], train["cutmix"], train["rate"]) == (0.2, 1, 0.01)
    assert kept["options"]["teacher"] == kept["options"]["init_from"] == str((runs / "dense").resolve())
    record = json.loads((runs / "pupil" / "metrics.jsonl").read_text().splitlines()[-1])
    assert record["rate"] == 0.01
    assert 0 < record["bits_per_weight"] <= 1
    (runs / "pupil" / "result.json").unlink()
    (runs / "pupil" / "checkpoint-000002.pt").unlink()
    moved = (runs / "dense").rename(tmp_path / "elsewhere")
    lost = run("train", "--resume", "pupil", "--runs-dir", runs)
    assert lost.code == 1
    assert lost.err.startswith("error: teacher ")
    assert "is not there" in lost.err
    found = run("train", "--resume", "pupil", "--runs-dir", runs, "--teacher", moved)
    assert (found.code, found.out) == (0, done.out)
    assert run("export", tmp_path / "pupil.pemn", "--run", runs / "pupil").code == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--rate", 0.1, "--regular"), "error: rate is the price of a mask's bits, and nothing is masked here"),
        (("--rate", 0.1, "--learner", "topk"), "error: learner topk keeps a fixed density, so no rate can be learned"),
        (("--teacher", "nobody"), "error: teacher nobody is not there: no such run or file here"),
        (("--init-from", "nobody"), "error: dense start nobody is not there: no such run or file here"),
        (("--ema", 1), "error: ema must be a number of at least 0 and below 1, found 1.0"),
    ],
)
def test_levers_that_cannot_work_are_one_line(run: Any, runs: Path, options: tuple[object, ...], message: str) -> None:
    done = run("train", *SMALL, *options, "--runs-dir", runs)
    assert (done.code, done.out) == (2 if "--ema" in options else 1, "")
    assert done.err.startswith(message)
    assert done.err.count("\n") == 1
    assert not runs.exists() or not list(runs.iterdir())
