"""A file that is the difference between two is no model, and every command that needs one says so."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pemn_formats.content import Delta
from pemn_formats.reader import read
from pemn_formats.writer import encode

BASE, RESULT = "1" * 64, "2" * 64


@pytest.fixture
def patch_file(model_file: Path, tmp_path: Path) -> Path:
    content = read(model_file)
    flags = (False,) * len(content.masked)
    delta = Delta(BASE, RESULT, prototypes=(False,), masked=flags, residual=(False,) * len(content.residual))
    path = tmp_path / "patch.pemn"
    path.write_bytes(encode(replace(content, delta=delta)))
    return path


def test_it_is_sound_and_shows_what_it_changes(patch_file: Path, run: Callable[..., Any]) -> None:
    assert run("verify", patch_file).out.startswith("OK")
    assert json.loads(run("inspect", patch_file, "--json").out)["delta"] == {"base": BASE, "result": RESULT}
    rows = [line.split() for line in run("inspect", patch_file).out.splitlines()]
    assert ["changes", "content", BASE] in rows
    assert ["into", "content", RESULT] in rows


@pytest.mark.parametrize("command", [["load"], ["eval"], ["size-report"]])
def test_it_is_no_model(command: list[str], patch_file: Path, assert_fails: Callable[..., str]) -> None:
    assert "no model" in assert_fails(1, *command, patch_file)


def test_it_is_verified_as_the_differences_that_it_holds(patch_file: Path, run: Callable[..., Any]) -> None:
    result = run("verify", "--deep", patch_file)
    assert (result.code, result.out) == (0, run("verify", patch_file).out)
    assert result.err == (
        f"{patch_file} holds differences; apply it to its base, and verify --deep the result, for its tensors\n"
    )
    assert "tensors" not in json.loads(run("verify", "--deep", "--json", patch_file).out)["files"][0]


def test_diff_names_the_file_that_is_no_model(
    patch_file: Path, model_file: Path, assert_fails: Callable[..., str]
) -> None:
    for files in ((patch_file, model_file), (model_file, patch_file)):
        assert assert_fails(1, "diff", *files).startswith(f"error: {patch_file}: the file is a delta of content {BASE}")
