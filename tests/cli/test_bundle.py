"""`bundle`, and what the other commands make of one."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pemn_formats.reader import Reader, read, read_model
from pemn_formats.writer import content_id, write


@pytest.fixture
def bundle_file(digits_file: Path, tmp_path: Path, run: Callable[..., Any]) -> Path:
    path = tmp_path / "both.pemn"
    assert run("bundle", path, f"night={digits_file}", f"day={digits_file}").code == 0
    return path


def test_it_holds_each_model_under_its_name(bundle_file: Path, digits_file: Path) -> None:
    for task in ("day", "night"):
        assert content_id(read_model(bundle_file, task=task)) == content_id(read(digits_file))


def test_it_says_what_was_saved(digits_file: Path, tmp_path: Path, run: Callable[..., Any]) -> None:
    result = run("bundle", tmp_path / "b.pemn", f"a={digits_file}", f"b={digits_file}")
    size = (tmp_path / "b.pemn").stat().st_size
    lines = [line.split() for line in result.out.splitlines()]
    assert (result.code, result.err) == (0, "")
    assert lines[1][:2] == ["a", f"{digits_file.stat().st_size:,}"]
    assert lines[3][:2] == ["bundle", f"{size:,}"]
    assert size < 2 * digits_file.stat().st_size


def test_json(digits_file: Path, tmp_path: Path, run: Callable[..., Any]) -> None:
    path = tmp_path / "b.pemn"
    report = json.loads(run("bundle", path, f"a={digits_file}", "--json").out)
    assert report["tasks"] == {"a": {"file": str(digits_file), "bytes": digits_file.stat().st_size}}
    assert report["ledger"]["file_bytes"] == path.stat().st_size
    with Reader.open(path) as reader:
        assert report["content_id"] == reader.content_id()


def test_load_and_eval_take_one_of_its_tasks(
    bundle_file: Path, digits_file: Path, run: Callable[..., Any], assert_fails: Callable[..., str]
) -> None:
    alone = json.loads(run("eval", digits_file, "--json").out)
    found = json.loads(run("eval", bundle_file, "--task", "night", "--json").out)
    assert (found["accuracy"], found["loss"]) == (alone["accuracy"], alone["loss"])
    report = json.loads(run("load", bundle_file, "--task", "day", "--json").out)
    assert report["masked_tensors"] == len(read(digits_file).masked)
    for command in ("load", "eval"):
        line = assert_fails(1, command, bundle_file)
        assert line.endswith("the file is a bundle; choose one of its tasks (--task or task=): day, night")
        assert str(bundle_file) in line
        assert assert_fails(1, command, bundle_file, "--task", "x").endswith("has no task 'x'; it has day, night")
        assert "no task 'day' to choose" in assert_fails(1, command, digits_file, "--task", "day")


def test_inspect_verify_and_size_report_show_its_tasks(bundle_file: Path, run: Callable[..., Any]) -> None:
    report = json.loads(run("inspect", bundle_file, "--json").out)
    assert sorted(report["tasks"]) == ["day", "night"]
    assert report["tasks"]["day"]["architecture"]["name"] == "convmixer"
    assert "architecture, day" in run("inspect", bundle_file).out
    assert ", tasks day, night, " in run("verify", bundle_file).out
    assert json.loads(run("verify", bundle_file, "--json").out)["files"][0]["tasks"] == ["day", "night"]
    assert json.loads(run("size-report", bundle_file, "--json").out)["files"][0]["tasks"] == ["day", "night"]
    assert run("size-report", bundle_file).out.splitlines()[1].split() == ["tasks", "day,", "night"]


def test_deep_verify_hashes_every_task(bundle_file: Path, digits_file: Path, run: Callable[..., Any]) -> None:
    alone = json.loads(run("verify", digits_file, "--deep", "--json").out)["files"][0]["tensors"]
    both = json.loads(run("verify", bundle_file, "--deep", "--json").out)["files"][0]["tensors"]
    assert both == {f"{task}:{name}": digest for task in ("day", "night") for name, digest in alone.items()}


def test_models_over_other_values(model_file: Path, tmp_path: Path, assert_fails: Callable[..., str]) -> None:
    write(tmp_path / "other.pemn", replace(read(model_file), seed=9))
    line = assert_fails(1, "bundle", tmp_path / "b.pemn", f"a={model_file}", f"b={tmp_path / 'other.pemn'}")
    assert "the tasks 'a' and 'b' cannot share one set of values: their seeds are 3 and 9" in line
    assert not (tmp_path / "b.pemn").exists()


@pytest.mark.parametrize(
    ("models", "message"),
    [
        (["plain.pemn"], "'plain.pemn' is not NAME=FILE.pemn."),
        (["=plain.pemn"], "'=plain.pemn' is not NAME=FILE.pemn."),
        (["a="], "'a=' is not NAME=FILE.pemn."),
        (["a=x.pemn", "a=y.pemn"], "the task 'a' is given twice."),
        ([], "Missing argument 'NAME=FILE.pemn...'."),
    ],
)
def test_wrong_usage(models: list[str], message: str, tmp_path: Path, assert_fails: Callable[..., str]) -> None:
    assert message in assert_fails(2, "bundle", tmp_path / "b.pemn", *models)


def test_files_that_cannot_be_read_or_written(
    model_file: Path, tmp_path: Path, assert_fails: Callable[..., str]
) -> None:
    (tmp_path / "cut.pemn").write_bytes(model_file.read_bytes()[:-1])
    assert "cut.pemn: the file is truncated" in assert_fails(
        3, "bundle", tmp_path / "b.pemn", f"a={tmp_path / 'cut.pemn'}"
    )
    assert "absent.pemn" in assert_fails(1, "bundle", tmp_path / "b.pemn", f"a={tmp_path / 'absent.pemn'}")
    assert "exists; use --force" in assert_fails(1, "bundle", model_file, f"a={model_file}")
