"""`diff`: what differs between two files, for people and as JSON."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pemn_formats.content import Content
from pemn_formats.delta import make_delta
from pemn_formats.reader import read
from pemn_formats.writer import content_id, encode, write


@pytest.fixture
def changed_file(model_file: Path, tmp_path: Path) -> Path:
    """Three bits of one mask, one bias, a scale and a note differ; the BatchNorm has another name."""
    content = read(model_file)
    plane = content.masked[0].planes[0].copy()
    plane[3] ^= 0b10101
    bias = content.residual[1].values.copy()
    bias[2] += np.float16(1)
    path = tmp_path / "changed.pemn"
    write(
        path,
        replace(
            content,
            masked=(replace(content.masked[0], planes=(plane,)), replace(content.masked[1], scale=np.float32(0.5))),
            residual=(replace(content.residual[0], name="norm"), replace(content.residual[1], values=bias)),
            extra={"note": ["new"]},
        ),
    )
    return path


def test_equal_files_are_said_to_be_equal(model_file: Path, run: Callable[..., Any]) -> None:
    result = run("diff", model_file, model_file)
    assert (result.code, result.err) == (0, "")
    assert result.out == f"equal: both hold content {content_id(read(model_file))}\n"


def test_the_table_lists_what_differs(model_file: Path, changed_file: Path, run: Callable[..., Any]) -> None:
    result = run("diff", model_file, changed_file)
    rows = [line.split() for line in result.out.splitlines()]
    assert (result.code, result.err) == (0, "")
    assert ["content", "of", "B", content_id(read(changed_file))] in rows
    assert ["conv.weight", "432", "3", "0.69", "%"] in rows
    assert ["all", "2", "masks", "592", "3", "0.51", "%"] in rows
    assert ["head.bias", "dense", "10", "1", "1"] in rows
    assert ["head.weight", "scale", "0.25", "0.5"] in rows
    assert ["-", "extra", "note", "-", '["new"]'] in rows
    assert rows[-5:] == [["only", "in", "A"], ["bn", "(bn)"], [], ["only", "in", "B"], ["norm", "(bn)"]]


def test_json_lists_every_tensor(model_file: Path, changed_file: Path, run: Callable[..., Any]) -> None:
    report = json.loads(run("diff", model_file, changed_file, "--json").out)
    assert report["files"] == [str(model_file), str(changed_file)]
    assert report["equal"] is False
    assert report["masks"] == [
        {"name": "conv.weight", "weights": 432, "changed": 3},
        {"name": "head.weight", "weights": 160, "changed": 0},
    ]
    assert (report["mask_changed"], report["mask_weights"]) == (3, 592)
    assert (report["residual_changed"], report["residual_values"]) == (1, 10)
    assert (report["only_left"], report["only_right"]) == (["bn (bn)"], ["norm (bn)"])


def test_a_difference_that_is_no_number(model_file: Path, tmp_path: Path, run: Callable[..., Any]) -> None:
    content = read(model_file)
    values = content.residual[1].values.copy()
    values[0] = np.inf
    path = tmp_path / "inf.pemn"
    write(path, replace(content, residual=(content.residual[0], replace(content.residual[1], values=values))))
    assert "not finite" in run("diff", model_file, path).out
    assert json.loads(run("diff", model_file, path, "--json").out)["values"][1]["largest"] is None


def test_notes_alone(model_file: Path, tmp_path: Path, run: Callable[..., Any]) -> None:
    write(tmp_path / "noted.pemn", replace(read(model_file), extra={"note": "n"}))
    lines = run("diff", model_file, tmp_path / "noted.pemn").out.splitlines()
    assert lines[0].startswith("equal: both hold content ")
    assert lines[-1].split() == ["-", "extra", "note", "-", "n"]


def test_files_that_cannot_be_compared(
    model_file: Path, changed_file: Path, tmp_path: Path, assert_fails: Callable[..., str]
) -> None:
    def patch() -> Content:
        return make_delta(read(model_file), read(changed_file))

    (tmp_path / "patch.pemn").write_bytes(encode(patch()))
    assert "is a delta of content" in assert_fails(1, "diff", model_file, tmp_path / "patch.pemn")
    assert "absent.pemn" in assert_fails(1, "diff", model_file, tmp_path / "absent.pemn")
    changed_file.write_bytes(b"")
    assert f"{changed_file}: the file is empty" in assert_fails(3, "diff", model_file, changed_file)
