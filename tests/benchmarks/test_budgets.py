from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import budgets, readme
from benchmarks.record import held_runs, write_results

SMALL = ["--data", "digits", "--net", "patch=2", "--epochs", "1", "--limit-train", "100", "--limit-held-out", "50"]


def test_every_budget_is_used_and_none_exceeded(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out.json"
    budgets.main([*SMALL, "--budgets", "4000", "--out", str(out)])
    budgets.main([*SMALL, "--budgets", "2000", "--out", str(out)])
    found = json.loads(out.read_text())
    assert [run["budget"] for run in found["runs"]] == [2000, 4000]
    assert all(0.97 <= run["used"] <= 1 for run in found["runs"])
    assert all(run["file_bytes"] == round(run["used"] * run["budget"]) for run in found["runs"])
    assert found["data"]["validation"] == 50
    assert "| 4,000 B | convmixer" in readme.budgets(found)
    assert "used" in capsys.readouterr().out


def test_runs_under_other_options_are_not_mixed_in(tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    write_results(out, {"recipe": {"epochs": 9}, "runs": [{"budget": 1}]})
    assert held_runs(out, {"recipe": {"epochs": 1}}) == []
    assert [run["budget"] for run in held_runs(out, {"recipe": {"epochs": 9}})] == [1]
