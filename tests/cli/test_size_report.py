"""`size-report`: every byte has its place, and ratios say what they are against."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from safetensors.torch import load as load_safetensors

PARTS = ("prelude", "manifest", "chunk_table", "prototypes", "masks", "residual")


def table(text: str) -> dict[str, list[str]]:
    """Label to cells; a label that stands twice keeps its first cells."""
    found: dict[str, list[str]] = {}
    for line in text.splitlines()[1:]:
        label, *cells = [part.strip() for part in line.split("  ") if part.strip()] or [""]
        found.setdefault(label, cells)
    return found


def test_the_parts_are_the_file(digits_file: Path, run: Callable[..., Any]) -> None:
    result = run("size-report", digits_file, "--json")
    (record,) = json.loads(result.out)["files"]
    assert result.err == ""
    assert sum(record[part] for part in PARTS) == record["file_bytes"] == digits_file.stat().st_size


def test_dense_is_what_a_state_dict_holds(digits_file: Path, tmp_path: Path, run: Callable[..., Any]) -> None:
    (record,) = json.loads(run("size-report", digits_file, "--json").out)["files"]
    dense = tmp_path / "dense.safetensors"
    run("load", digits_file, "--to", dense)
    values = load_safetensors(dense.read_bytes()).values()
    assert record["dense_float32"] == sum(value.numel() * value.element_size() for value in values)


def test_several_files_are_columns(digits_file: Path, model_file: Path, run: Callable[..., Any]) -> None:
    out = run("size-report", digits_file, model_file).out
    assert out.splitlines()[0].split() == ["digits.pemn", "model.pemn"]
    sizes = [f"{path.stat().st_size:,} B" for path in (digits_file, model_file)]
    assert table(out)["file"] == sizes
    assert "\x1b" not in out


def test_the_papers_count_stands_beside_ours(model_file: Path, run: Callable[..., Any]) -> None:
    rows = table(run("size-report", model_file).out)
    # 432 + 160 weights, a prototype of 7 values: 4 * 7 + 592 / 8 bytes against 4 * 592.
    assert rows["float prototype, 1 bit a weight"] == ["102 B"]
    assert rows["32 bits a weight"] == ["2,368 B"]
    assert rows["reduction"] == ["95.69 %"]
    assert rows["bits per weight"] == ["1.0000"]


def test_a_dense_checkpoint_on_disk_is_compared(model_file: Path, tmp_path: Path, run: Callable[..., Any]) -> None:
    dense = tmp_path / "dense.pt"
    dense.write_bytes(bytes(10 * model_file.stat().st_size))
    out = run("size-report", model_file, "--dense", dense).out
    assert table(out)["dense.pt"] == [f"{dense.stat().st_size:,} B"]
    assert "10.0x" in out
    (record,) = json.loads(run("size-report", model_file, "--dense", dense, "--json").out)["files"]
    assert record["dense_file"] == {"bytes": dense.stat().st_size, "file": str(dense), "ratio": 10.0}


def test_a_dense_checkpoint_that_is_not_there(model_file: Path, assert_fails: Callable[..., str]) -> None:
    assert "no such file" in assert_fails(1, "size-report", model_file, "--dense", "nowhere.pt")


@pytest.mark.parametrize("kind", ["svg", "png"])
def test_plot(kind: str, digits_file: Path, model_file: Path, tmp_path: Path, run: Callable[..., Any]) -> None:
    first, second = tmp_path / f"a.{kind}", tmp_path / f"b.{kind}"
    result = run("size-report", digits_file, model_file, "--plot", first)
    run("size-report", digits_file, model_file, "--plot", second)
    assert result.code == 0, result.err
    start = {"svg": b"<?xml", "png": b"\x89PNG"}[kind]
    assert first.read_bytes().startswith(start)
    assert first.read_bytes() == second.read_bytes()
    assert result.out == run("size-report", digits_file, model_file).out


@pytest.mark.parametrize("name", ["r\udcff.pemn", "s\x01\x1b.pemn"])
def test_plot_of_a_name_that_cannot_be_printed(
    name: str, model_file: Path, tmp_path: Path, run: Callable[..., Any]
) -> None:
    (tmp_path / name).write_bytes(model_file.read_bytes())
    result = run("size-report", tmp_path / name, "--plot", tmp_path / "a.svg")
    assert result.code == 0, result.err
    ElementTree.parse(tmp_path / "a.svg")


def test_plot_of_another_kind(model_file: Path, tmp_path: Path, assert_fails: Callable[..., str]) -> None:
    assert ".svg or .png" in assert_fails(1, "size-report", model_file, "--plot", tmp_path / "a.gif")


def test_plot_without_matplotlib(
    model_file: Path, tmp_path: Path, assert_fails: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "matplotlib", None)
    line = assert_fails(1, "size-report", model_file, "--plot", tmp_path / "a.svg")
    assert "pip install 'pemn-compress[plot]'" in line


def test_the_bar_sums_to_the_file(digits_file: Path) -> None:
    from pemn_cli.ledger_table import bar
    from pemn_formats.reader import Reader

    with Reader.open(digits_file) as reader:
        assert bar(digits_file, reader.ledger()).total == digits_file.stat().st_size
