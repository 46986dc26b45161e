"""`demo`: the whole job, in one command."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file as load_safetensors

from pemn_compress.loading import load_file
from pemn_compress.train.presets import PRESETS

FILES = {
    "dense-float16.safetensors",
    "dense.pt",
    "dense.safetensors",
    "digits.pemn",
    "digits.safetensors",
    "runs",
    "sizes.svg",
}


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """One epoch instead of all of them."""
    monkeypatch.setitem(PRESETS, "digits", {**PRESETS["digits"], "epochs": 1})


@pytest.mark.usefixtures("short")
def test_everything_is_made_and_told(tmp_path: Path, run: Callable[..., Any]) -> None:
    out = tmp_path / "demo"
    result = run("demo", "--out", out)
    assert result.code == 0, result.err
    assert {path.name for path in out.iterdir()} == FILES
    for command in ("train", "export", "load", "eval", "size-report"):
        assert f"$ pemn-compress {command} " in result.err
    for words in ("masked, this file", "torch.save, float32", "safetensors, float16", "distance to Shannon"):
        assert words in result.out
    for name, tensor in load_file(out / "digits.pemn").items():
        assert tensor.equal(load_safetensors(out / "digits.safetensors")[name])


@pytest.mark.usefixtures("short")
def test_json_counts_what_is_on_disk(tmp_path: Path, run: Callable[..., Any]) -> None:
    out = tmp_path / "demo"
    report = json.loads(run("demo", "--out", out, "--json").out)
    assert report["masked"]["bytes"] == (out / "digits.pemn").stat().st_size
    assert report["masked"]["accuracy"] == pytest.approx(report["masked"]["accuracy_before_export"], abs=1)
    for each in report["dense"]:
        assert each["bytes"] == Path(each["file"]).stat().st_size


@pytest.mark.usefixtures("short")
def test_what_it_shows_can_be_typed(tmp_path: Path, run: Callable[..., Any]) -> None:
    import shlex

    shown = [line[2:] for line in run("demo", "--out", tmp_path / "demo").err.splitlines() if line.startswith("$ ")]
    assert len(shown) == 6
    for line in shown:
        words = shlex.split(line)[1:]
        result = run(*words, *([] if words[0] == "eval" else ["--force"]))
        assert result.code == 0, result.err


@pytest.mark.usefixtures("short")
def test_an_earlier_demo_needs_force_and_other_files_stay(tmp_path: Path, run: Callable[..., Any]) -> None:
    (tmp_path / "mine.txt").write_text("keep me")
    refused = run("demo", "--out", tmp_path)
    assert refused.code == 1
    assert refused.err.startswith("error: ")
    assert "--force" in refused.err
    assert run("demo", "--out", tmp_path, "--force").code == 0
    assert run("demo", "--out", tmp_path, "--force").code == 0
    assert (tmp_path / "mine.txt").read_text() == "keep me"


@pytest.mark.usefixtures("short")
def test_without_matplotlib_there_is_no_picture(
    tmp_path: Path, run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    result = run("demo", "--out", tmp_path / "demo")
    assert result.code == 0, result.err
    assert "pip install 'pemn-compress[plot]'" in result.err
    assert not (tmp_path / "demo" / "sizes.svg").exists()


def test_ctrl_c_says_how_to_start_again(
    tmp_path: Path, assert_fails: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("pemn_cli.commands.demo._demo", stop)
    line = assert_fails(130, "demo", "--out", tmp_path / "my demo")
    assert line.endswith(f"start again with: pemn-compress demo --out '{tmp_path / 'my demo'}' --force")


def test_out_that_is_a_file(tmp_path: Path, assert_fails: Callable[..., str]) -> None:
    (tmp_path / "demo").touch()
    assert "not a folder" in assert_fails(1, "demo", "--out", tmp_path / "demo")
