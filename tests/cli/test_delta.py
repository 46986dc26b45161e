"""`delta` and `apply`: an update, made and applied."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pemn_formats.content import Content, MaskedTensor, Prototype
from pemn_formats.reader import Reader, read
from pemn_formats.writer import content_id, write


@pytest.fixture
def newer_file(digits_file: Path, tmp_path: Path) -> Path:
    """The digits network after a small change of a mask and a bias."""
    content = read(digits_file)
    plane = content.masked[0].planes[0].copy()
    plane[0] ^= 0b101
    entry = content.residual[-1]
    changed = replace(entry, values=entry.values + np.float16(0.25))
    path = tmp_path / "newer.pemn"
    masked = (replace(content.masked[0], planes=(plane,)), *content.masked[1:])
    write(path, replace(content, masked=masked, residual=(*content.residual[:-1], changed), extra={"n": 1}))
    return path


@pytest.fixture
def patch_file(digits_file: Path, newer_file: Path, tmp_path: Path, run: Callable[..., Any]) -> Path:
    path = tmp_path / "patch.pemn"
    assert run("delta", digits_file, newer_file, path).code == 0
    return path


def test_the_patch_makes_the_newer_file(
    digits_file: Path, newer_file: Path, patch_file: Path, tmp_path: Path, run: Callable[..., Any]
) -> None:
    out = tmp_path / "out.pemn"
    result = run("apply", digits_file, patch_file, out)
    assert (result.code, result.err) == (0, "")
    assert content_id(read(newer_file)) in result.out
    assert out.read_bytes() == newer_file.read_bytes()


def test_a_file_can_be_updated_in_place(
    digits_file: Path, newer_file: Path, patch_file: Path, run: Callable[..., Any]
) -> None:
    assert run("apply", digits_file, patch_file, digits_file, "--force").code == 0
    assert digits_file.read_bytes() == newer_file.read_bytes()


@pytest.mark.parametrize(("flipped", "said"), [(0.5, True), (0.001, False)])
def test_a_patch_that_saves_nothing_says_so(
    flipped: float, said: bool, tmp_path: Path, run: Callable[..., Any]
) -> None:
    rng = np.random.default_rng(1)
    old, new, patch = (tmp_path / name for name in ("old.pemn", "new.pemn", "patch.pemn"))
    bits = rng.random((256, 256)) < 0.5
    for path, each in ((old, bits), (new, bits ^ (rng.random(bits.shape) < flipped))):
        planes = (np.packbits(each, bitorder="little"),)
        tensor = MaskedTensor("weight", bits.shape, 0, 0, "keep", np.float32(1), planes=planes)
        write(path, Content(seed=1, prototypes=(Prototype(3, "signed"),), masked=(tensor,)))
    result = run("delta", old, new, patch)
    assert (patch.stat().st_size >= new.stat().st_size) is said
    assert (result.code, result.err) == (0, f"the patch is no smaller than {new}; send that instead\n" if said else "")


def test_json(digits_file: Path, newer_file: Path, tmp_path: Path, run: Callable[..., Any]) -> None:
    patch, out = tmp_path / "p.pemn", tmp_path / "o.pemn"
    report = json.loads(run("delta", digits_file, newer_file, patch, "--json").out)
    assert report["bytes"] == patch.stat().st_size
    assert report["new_bytes"] == newer_file.stat().st_size
    assert report["bytes"] == sum(report[part] for part in ("header", "prototypes", "masks", "residual"))
    assert report["base"] == content_id(read(digits_file))
    assert report["result"] == content_id(read(newer_file))
    applied = json.loads(run("apply", digits_file, patch, out, "--json").out)
    assert applied == {"file": str(out), "bytes": out.stat().st_size, "content_id": report["result"]}


def test_the_text_says_how_small(
    digits_file: Path, newer_file: Path, patch_file: Path, tmp_path: Path, run: Callable[..., Any]
) -> None:
    last = run("delta", digits_file, newer_file, tmp_path / "p.pemn").out.splitlines()[-1].split()
    assert last[:2] == ["patch", f"{patch_file.stat().st_size:,}"]
    share = 100 * patch_file.stat().st_size / newer_file.stat().st_size
    assert last[3] == f"{share:.2f}"


def test_another_base_is_refused_and_nothing_is_written(
    newer_file: Path, patch_file: Path, tmp_path: Path, assert_fails: Callable[..., str]
) -> None:
    line = assert_fails(1, "apply", newer_file, patch_file, tmp_path / "out.pemn")
    with Reader.open(patch_file) as reader:
        delta = reader.manifest.delta
    assert delta is not None
    assert f"the delta is made for the base {delta.base}, this one is {delta.result}" in line
    assert str(patch_file) in line
    assert not (tmp_path / "out.pemn").exists()


def test_files_in_the_wrong_places(
    digits_file: Path, newer_file: Path, patch_file: Path, tmp_path: Path, assert_fails: Callable[..., str]
) -> None:
    out = tmp_path / "out.pemn"
    assert "is no delta; make one with pemn-compress delta" in assert_fails(1, "apply", digits_file, newer_file, out)
    assert "the base is itself a delta" in assert_fails(1, "apply", patch_file, patch_file, out)
    assert "the old file is itself a delta" in assert_fails(1, "delta", patch_file, newer_file, out)
    assert "the new file is itself a delta" in assert_fails(1, "delta", digits_file, patch_file, out)
    assert "exists; use --force" in assert_fails(1, "delta", digits_file, newer_file, patch_file)
    assert "exists; use --force" in assert_fails(1, "apply", digits_file, patch_file, newer_file)
    patch_file.write_bytes(patch_file.read_bytes()[:-1])
    assert f"{patch_file}: the file is truncated" in assert_fails(3, "apply", digits_file, patch_file, out)
    assert f"{patch_file}: the file is truncated" in assert_fails(3, "delta", patch_file, digits_file, out)
    assert not out.exists()


def test_verify_and_inspect_take_a_patch(patch_file: Path, digits_file: Path, run: Callable[..., Any]) -> None:
    base = content_id(read(digits_file))
    assert f"delta of content {base}" in run("verify", patch_file).out
    assert json.loads(run("verify", patch_file, "--json").out)["files"][0]["delta_of"] == base
    rows = [line.split() for line in run("inspect", patch_file).out.splitlines()]
    assert ["changes", "content", base] in rows
    assert "ones" in next(row for row in rows if row[:1] == ["masked"])
