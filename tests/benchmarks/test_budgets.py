from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import budgets, readme
from benchmarks.record import held_runs, write_results
from pemn_compress.train.presets import PRESETS

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


def test_the_recipe_of_a_preset_is_that_of_the_preset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PRESETS, "digits", {**PRESETS["digits"], "epochs": 2})
    out = tmp_path / "out.json"
    everything = ["--data", "digits", "--limit-train", "0", "--limit-held-out", "0"]
    budgets.main([*everything, "--preset", "digits", "--budgets", "2000", "--seeds", "0", "1", "--out", str(out)])
    found = json.loads(out.read_text())
    assert [(run["model"], run["epochs"], run["seed"]) for run in found["runs"]] == [("mlp", 2, 0), ("mlp", 2, 1)]
    assert found["recipe"] == {"preset": "digits", "threads": 1, "device": "cpu"}
    assert found["data"]["train"] > 1_000
    widths = " or ".join(map(str, sorted({run["model_args"]["hidden"] for run in found["runs"]})))
    assert f"| 2,000 B | mlp, depth 2, hidden {widths} |" in readme.budgets_digits(found)
    assert "2 epochs, 2 seeds" in readme.budgets_digits(found)
