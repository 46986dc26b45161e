"""`eval`: accuracy of a file on images, and data that does not fit."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from pemn_compress.train.run import RunFolder
from pemn_formats.content import Content
from pemn_formats.reader import Reader
from pemn_formats.writer import write


def test_accuracy_is_that_of_the_run(digits_file: Path, trained_runs: Path, run: Callable[..., Any]) -> None:
    result = run("eval", digits_file, "--json")
    report = json.loads(result.out)
    trained = RunFolder.open(trained_runs / "masked").result
    assert (result.code, result.err) == (0, "")
    assert trained is not None
    assert report["correct"] == pytest.approx(trained["test"]["correct"], abs=3)
    assert (report["data"], report["split"], report["count"]) == ("digits", "test", 359)
    assert report["images_per_second"] > 0


@pytest.mark.parametrize(("split", "count"), [("train", 1293), ("validation", 145)])
def test_other_splits(split: str, count: int, digits_file: Path, run: Callable[..., Any]) -> None:
    assert json.loads(run("eval", digits_file, "--split", split, "--json").out)["count"] == count


def test_text(digits_file: Path, run: Callable[..., Any]) -> None:
    lines = run("eval", digits_file, "--batch-size", 7).out.splitlines()
    assert [line.split()[0] for line in lines] == ["accuracy", "loss", "speed"]


def test_a_task_of_several(bundle_file: Path, digits_file: Path, run: Callable[..., Any]) -> None:
    task, alone = run("eval", bundle_file, "--task", "first", "--json"), run("eval", digits_file, "--json")
    assert json.loads(task.out)["loss"] == json.loads(alone.out)["loss"]


def changed(digits_file: Path, **fields: Any) -> Path:
    """The file with other fields."""
    with Reader.open(digits_file) as reader:
        content = reader.content()
    write(digits_file, Content(**{**vars(content), **fields}), force=True)
    return digits_file


def folder_of_images(path: Path, classes: int, side: int = 8) -> Path:
    """An image folder of grey noise."""
    rng = np.random.default_rng(0)
    for split in ("train", "test"):
        for label in range(classes):
            (path / split / f"c{label}").mkdir(parents=True)
            for number in range(2):
                pixels = rng.integers(0, 256, (side, side), np.uint8)
                Image.fromarray(pixels).save(path / split / f"c{label}" / f"{number}.png")
    return path


def test_a_folder_is_read_in_the_size_of_the_network(
    digits_file: Path, tmp_path: Path, run: Callable[..., Any]
) -> None:
    images = folder_of_images(tmp_path / "images", 10, side=20)
    report = json.loads(run("eval", digits_file, "--data", f"folder:{images}", "--validation", "0", "--json").out)
    assert report["count"] == 20


def test_training_images_are_not_looked_at_for_the_test_split(
    digits_file: Path, tmp_path: Path, run: Callable[..., Any], assert_fails: Callable[..., str]
) -> None:
    images = folder_of_images(tmp_path / "images", 10)
    for picture in (images / "train").rglob("*.png"):
        picture.write_bytes(b"no picture")
    assert run("eval", digits_file, "--data", f"folder:{images}").code == 0
    assert "no picture" not in assert_fails(1, "eval", digits_file, "--data", f"folder:{images}", "--split", "train")


def test_wrong_number_of_classes(digits_file: Path, tmp_path: Path, assert_fails: Callable[..., str]) -> None:
    images = folder_of_images(tmp_path / "images", 3)
    line = assert_fails(1, "eval", digits_file, "--data", f"folder:{images}", "--validation", "0")
    assert "classes 3" in line
    assert "expects 10" in line


@pytest.mark.parametrize(("what", "fields"), [("channels", {"channels": 3}), ("size", {"size": [32, 32]})])
def test_images_of_another_kind(
    what: str, fields: dict[str, Any], digits_file: Path, assert_fails: Callable[..., str]
) -> None:
    with Reader.open(digits_file) as reader:
        found = dict(reader.manifest.input or {})
    thrice = {key: found[key] * fields.get("channels", 1) for key in ("mean", "std")}
    other = changed(digits_file, input={**found, **fields, **thrice, "data": "cifar10"})
    assert f"have {what}" in assert_fails(1, "eval", other, "--data", "digits")


def test_a_file_that_names_no_data(model_file: Path, assert_fails: Callable[..., str]) -> None:
    assert "give it with --data" in assert_fails(1, "eval", model_file)


def test_a_file_trained_on_a_folder(digits_file: Path, assert_fails: Callable[..., str]) -> None:
    with Reader.open(digits_file) as reader:
        found = dict(reader.manifest.input or {})
    assert "--data folder:PATH" in assert_fails(1, "eval", changed(digits_file, input={**found, "data": "folder"}))


def test_unknown_data(digits_file: Path, assert_fails: Callable[..., str]) -> None:
    assert "did you mean 'digits'" in assert_fails(1, "eval", digits_file, "--data", "digit")


def test_a_file_without_architecture_needs_a_model(digits_file: Path, assert_fails: Callable[..., str]) -> None:
    assert "--model" in assert_fails(1, "eval", changed(digits_file, architecture=None))


def test_model_that_the_user_names(digits_file: Path, run: Callable[..., Any]) -> None:
    other = changed(digits_file, architecture=None)
    arguments = [f"--model-arg={each}" for each in ("dim=8", "depth=1", "patch=2", "kernel=3", "channels=1")]
    result = run("eval", other, "--model", "convmixer", *arguments, "--model-arg=classes=10", "--json")
    assert result.code == 0, result.err
    assert (
        json.loads(result.out)["accuracy"]
        == json.loads(run("eval", digits_file, "--model", "convmixer", *arguments, "--json").out)["accuracy"]
    )


def test_another_model_does_not_fit(digits_file: Path, assert_fails: Callable[..., str]) -> None:
    line = assert_fails(1, "eval", changed(digits_file, architecture=None), "--model", "mlp")
    assert str(digits_file) in line


def test_arguments_of_no_model(digits_file: Path, assert_fails: Callable[..., str]) -> None:
    assert "--model-arg is for the model that --model names" in assert_fails(
        2, "eval", digits_file, "--model-arg", "a=1"
    )


def test_unknown_model(digits_file: Path, assert_fails: Callable[..., str]) -> None:
    assert "unknown model 'convmixr'" in assert_fails(1, "eval", digits_file, "--model", "convmixr")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda(digits_file: Path, run: Callable[..., Any]) -> None:
    report = json.loads(run("eval", digits_file, "--device", "cuda", "--json").out)
    assert report["device"] == "cuda"
    assert report["count"] == 359
