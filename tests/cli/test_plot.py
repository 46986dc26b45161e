from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from pemn_cli.curves import COLOURS, draw
from pemn_cli.failures import printable
from pemn_cli.run_metrics import RunMetrics, read_metrics
from pemn_formats.errors import PemnError


def record(epoch: int, **changes: Any) -> dict[str, Any]:
    plain = {
        "epoch": epoch,
        "train_loss": 2.0 / epoch,
        "train_accuracy": 50.0,
        "validation_loss": 2.5 / epoch,
        "validation_accuracy": 45.0 + epoch,
        "test_loss": None,
        "test_accuracy": None,
        "density": 0.5,
        "densities": {"a.weight": 0.4, "b.weight": 0.6},
        "estimated_bytes": 1000 - epoch,
        "best": epoch == 2,
    }
    return {**plain, **changes}


def make_run(folder: Path, records: list[Any], tail: str = "") -> Path:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "metrics.jsonl").write_text("".join(json.dumps(each) + "\n" for each in records) + tail)
    return folder


@pytest.fixture
def short(tmp_path: Path) -> Path:
    return make_run(tmp_path / "runs" / "short", [record(1), record(2), record(3)])


def curves(svg: Path) -> list[int]:
    """How many lines a picture has in each run's colour."""
    return [len(re.findall(rf"stroke: {colour}[;\"]", svg.read_text())) for colour in COLOURS]


@pytest.mark.parametrize("kind", ["svg", "png"])
def test_real_runs_overlaid(kind: str, trained_runs: Path, tmp_path: Path, run: Callable[..., Any]) -> None:
    first, second = tmp_path / f"a.{kind}", tmp_path / f"b.{kind}"
    done = run("plot", "masked", trained_runs / "dense", "--runs-dir", trained_runs, "--out", first)
    assert done.code == 0, done.err
    assert re.search(r"^masked +1 epoch +best 1$", done.out, flags=re.MULTILINE)
    assert re.search(rf"^{re.escape(str(first))} ", done.out, flags=re.MULTILINE)
    assert run("plot", trained_runs / "masked", trained_runs / "dense", "--out", second).code == 0
    assert first.read_bytes() == second.read_bytes()
    assert first.read_bytes().startswith({"svg": b"<?xml", "png": b"\x89PNG"}[kind])


def test_every_run_and_layer_adds_its_curves(tmp_path: Path) -> None:
    one = RunMetrics("one", (record(1), record(2)))
    three_layers = {"densities": {"a": 0.1, "b": 0.2, "c": 0.3}}
    other = RunMetrics("other", (record(1, **three_layers), record(2, **three_layers)))
    dense = RunMetrics("dense", (record(1, density=None, densities={}), record(2, density=None, densities={})))
    draw([one, other, dense], tmp_path / "a.svg", force=False)
    # Two splits' loss and accuracy, the layers and all of them together, bytes, and the colour beside the name.
    assert curves(tmp_path / "a.svg")[:4] == [4 + 2 + 1 + 1 + 1, 4 + 3 + 1 + 1 + 1, 4 + 1 + 1, 0]


@pytest.mark.parametrize("layers", [0, 1, 8, 9])
def test_one_run_with_few_and_many_layers(layers: int, tmp_path: Path) -> None:
    densities = {f"layer{number}": 0.5 for number in range(layers)}
    density = 0.5 if layers else None
    losses = {"train_loss": 0.0, "validation_loss": None, "test_loss": 3.0, "test_accuracy": 30.0}
    records = tuple(record(epoch, density=density, densities=densities, **losses) for epoch in range(1, 4))
    draw([RunMetrics("$x_1$ & <b>", records)], tmp_path / "one.svg", force=False)
    assert curves(tmp_path / "one.svg")[0] == 2 + 2 + 1 + 1


def test_curves_are_what_the_run_wrote(short: Path) -> None:
    found = read_metrics(short)
    assert found.name == "short"
    assert found.curve("estimated_bytes") == ([1, 2, 3], [999, 998, 997])
    assert found.curve("test_loss") == ([], [])
    assert found.layer("b.weight") == ([1, 2, 3], [0.6] * 3)
    assert (found.layers, found.watched, found.best["epoch"]) == (["a.weight", "b.weight"], "validation", 2)


def test_a_line_that_is_being_written_is_left_out(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "a", [record(1), record(2)], tail='{"epoch": 3, "train_')
    assert len(read_metrics(folder).records) == 2


@pytest.mark.parametrize(
    "line",
    [
        "nonsense",
        "[]",
        "7",
        json.dumps(record(2) | {"epoch": "2"}),
        json.dumps(record(2, train_loss=None)),
        json.dumps(record(2, train_loss=float("nan"))),
        json.dumps(record(2, validation_accuracy="high")),
        json.dumps(record(2, densities=[0.5])),
        json.dumps(record(2, densities={"a.weight": True, "b.weight": 0.5})),
        json.dumps({"epoch": 2}),
        "[" * 100_000,
    ],
)
def test_a_damaged_line_is_named(line: str, tmp_path: Path, assert_fails: Callable[..., str]) -> None:
    folder = make_run(tmp_path / "a", [record(1)], tail=f"{line}\n")
    message = assert_fails(1, "plot", folder, "--out", tmp_path / "a.svg")
    assert message.endswith("metrics.jsonl is damaged: line 2 is no record of an epoch")
    assert not (tmp_path / "a.svg").exists()


@pytest.mark.parametrize("name", ["q\udcff", "s\x01\x1b", "a\nb"])
def test_names_that_cannot_be_printed(name: str, tmp_path: Path, run: Callable[..., Any]) -> None:
    folder = make_run(tmp_path / name, [record(1, densities={name: 0.5})])
    result = run("plot", folder, "--out", tmp_path / "a.svg")
    assert result.code == 0, result.err
    ElementTree.parse(tmp_path / "a.svg")
    assert printable(name) in (tmp_path / "a.svg").read_text()


def test_what_is_no_run_is_one_line(short: Path, tmp_path: Path, assert_fails: Callable[..., str]) -> None:
    out = ("--out", tmp_path / "a.svg")
    assert assert_fails(1, "plot", "nowhere", *out).endswith("nowhere is no training run: it has no config.json")
    (tmp_path / "killed").mkdir()
    line = assert_fails(1, "plot", short, tmp_path / "killed", *out)
    assert line.endswith("killed is no training run: it is empty, as if killed before training began")
    empty = make_run(tmp_path / "empty", [])
    assert "has no finished epoch yet" in assert_fails(1, "plot", short, empty, *out)
    (empty / "metrics.jsonl").unlink()
    assert "has no finished epoch yet" in assert_fails(1, "plot", empty, *out)
    (empty / "metrics.jsonl").write_bytes(b"\xff\xfe\n")
    assert "it is no text" in assert_fails(1, "plot", empty, *out)
    with pytest.raises(PemnError, match="line 2 has other masked tensors than line 1"):
        read_metrics(make_run(tmp_path / "b", [record(1), record(2, densities={"c": 0.5})]))


def test_the_output_is_checked_first(short: Path, tmp_path: Path, assert_fails: Callable[..., str], run: Any) -> None:
    assert ".svg or .png" in assert_fails(1, "plot", "nowhere", "--out", tmp_path / "a.gif")
    out = tmp_path / "a.svg"
    out.write_text("mine")
    assert "use --force" in assert_fails(1, "plot", "nowhere", "--out", out)
    assert run("plot", short, "--out", out, "--force").code == 0
    assert out.read_text() != "mine"


def test_runs_of_equal_names_are_told_apart(short: Path, tmp_path: Path, run: Any) -> None:
    other = make_run(tmp_path / "other" / "short", [record(1)])
    done = run("plot", short, other, "--out", tmp_path / "a.svg")
    assert [line.split()[0] for line in done.out.splitlines()] == [str(short), str(other), str(tmp_path / "a.svg")]


def test_torch_stays_alone(short: Path, tmp_path: Path) -> None:
    program = (
        "import sys\nfrom pemn_cli.main import main\n"
        "try:\n    main(sys.argv[1:])\nfinally:\n    assert 'torch' not in sys.modules"
    )
    line = [sys.executable, "-c", program, "plot", str(short), "--out", str(tmp_path / "a.svg")]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_without_matplotlib(
    short: Path, tmp_path: Path, assert_fails: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    line = assert_fails(1, "plot", short, "--out", tmp_path / "a.svg")
    assert "--out needs matplotlib: pip install 'pemn-compress[plot]'" in line
