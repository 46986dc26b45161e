from __future__ import annotations

import json
import platform
from pathlib import Path

import pytest

from benchmarks.environment import environment
from benchmarks.record import held_runs, write_results
from benchmarks.table import render


def test_the_environment_says_what_it_ran_on_and_nothing_private() -> None:
    found = environment()
    assert found["hardware"]["cores"] >= 1
    assert found["hardware"]["cpu"]
    assert {"torch", "torchvision", "numpy", "zstandard", "pemn-compress", "python"} <= set(found["versions"])
    told = json.dumps(found)
    for private in (str(Path.home()), str(Path.cwd()), platform.node()):
        assert len(private) < 5 or private not in told


def test_results_replace_earlier_ones(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "found.json"
    write_results(path, {"figure": 1})
    write_results(path, {"figure": 2.5})
    found = json.loads(path.read_text())
    assert list(found) == ["environment", "figure"]
    assert found["figure"] == 2.5
    assert [each.name for each in path.parent.iterdir()] == ["found.json"]


def test_held_runs_name_the_code_they_were_measured_with(tmp_path: Path) -> None:
    path = tmp_path / "found.json"
    other = {"commit": "before", "dirty": False}
    write_results(path, {"epochs": 1, "runs": [{"row": "a"}, {"row": "b", "code": other}]})
    first, second = held_runs(path, {"epochs": 1})
    assert (first["code"], second["code"]) == (environment()["code"], other)


def test_results_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Out of range float"):
        write_results(tmp_path / "found.json", {"figure": float("nan")})


def test_tables_are_aligned() -> None:
    table = render(("net", "bytes", "x"), [("a", 1234567, 2.0), ("longer", None, 10.128)])
    assert table.splitlines() == [
        "net         bytes      x",
        "------  ---------  -----",
        "a       1,234,567   2.00",
        "longer          -  10.13",
    ]
