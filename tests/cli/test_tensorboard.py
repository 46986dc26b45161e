from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

SMALL = ("--model-arg", "hidden=16", "--depth", "1", "--limit-train", "200", "--epochs", "2", "--batch-size", "32")


def events(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Every scalar that TensorBoard itself finds in a run's folder, by name."""
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    found = accumulator.EventAccumulator(str(folder))
    found.Reload()
    return {tag: [(event.step, event.value) for event in found.Scalars(tag)] for tag in found.Tags()["scalars"]}


def test_tensorboard_sees_what_the_metrics_say(run: Any, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    folder = tmp_path / "runs" / "a"
    done = run("train", *SMALL, "--run", "a", "--runs-dir", tmp_path / "runs", "--tensorboard")
    assert done.code == 0, done.err
    records = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    found = events(folder)
    names = {
        "loss/train": "train_loss",
        "loss/validation": "validation_loss",
        "accuracy/train": "train_accuracy",
        "accuracy/validation": "validation_accuracy",
        "file/estimated_bytes": "estimated_bytes",
        "file/bits_per_weight": "bits_per_weight",
        "density/all": "density",
        "schedule/lr": "lr",
        "schedule/rate": "rate",
        "speed/images_per_second": "images_per_second",
    }
    layers = {f"density/{name}" for name in records[0]["densities"]}
    assert set(found) == set(names) | layers
    for tag, key in names.items():
        assert found[tag] == [(record["epoch"], pytest.approx(record[key], rel=1e-6)) for record in records]
    for tag in layers:
        densities = [record["densities"][tag.removeprefix("density/")] for record in records]
        assert [value for _, value in found[tag]] == pytest.approx(densities)

    assert len(list(folder.glob("events.*"))) == 1
    assert run("train", *SMALL, "--run", "a", "--runs-dir", tmp_path / "runs", "--force").code == 0
    assert not list(folder.glob("events.*"))


def test_epochs_that_a_resumed_run_repeats_are_shown_once(run: Any, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    folder = tmp_path / "runs" / "a"
    assert run("train", *SMALL, "--run", "a", "--runs-dir", tmp_path / "runs", "--tensorboard").code == 0
    for name in ("result.json", "checkpoint-000002.pt"):
        (folder / name).unlink()
    assert run("train", "--resume", folder, "--tensorboard").code == 0
    assert len(list(folder.glob("events.*"))) == 2
    assert [step for step, _ in events(folder)["loss/train"]] == [1, 2]


def test_a_missing_tensorboard_is_found_before_anything_is_made(
    tmp_path: Path, assert_fails: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    line = assert_fails(1, "train", *SMALL, "--runs-dir", tmp_path / "runs", "--tensorboard")
    assert "pip install 'pemn-compress[tensorboard]'" in line
    assert not (tmp_path / "runs").exists()
