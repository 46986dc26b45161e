from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import learners, short_training
from benchmarks.record import held_runs, write_results

SMALL = ["--data", "digits", "--dim", "24", "--depth", "1", "--patch", "2", "--epochs", "1", "--limit-train", "100"]


def test_rows_measured_one_after_another_end_in_one_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, other = tmp_path / "out.json", tmp_path / "other.json"
    learners.main([*SMALL, "--rows", "sign", "--seeds", "0", "--out", str(other)])
    learners.main([*SMALL, "--rows", "rp 25", "default", "--seeds", "0", "1", "--out", str(out)])
    learners.main([*SMALL, "--rows", "--out", str(out), "--merge", str(other)])
    found = json.loads(out.read_text())
    assert [(run["row"], run["seed"]) for run in found["runs"]] == [
        *[("default", 0), ("default", 1), ("sign", 0), ("rp 25", 0), ("rp 25", 1)]
    ]
    default, sign, rp = found["summary"]
    assert (default["test_over_default"], default["seeds"]) == (0, 2)
    gain = found["runs"][2]["validation_accuracy"] - found["runs"][0]["validation_accuracy"]
    assert sign["validation_over_default"] == pytest.approx(gain, abs=0.006)
    assert rp["file_bytes"] < found["runs"][0]["dense_float32_bytes"]
    assert "validation over default" in capsys.readouterr().out


def test_results_under_another_budget_are_not_mixed_in(tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    write_results(out, {"data": {}, "budget": {"epochs": 9}, "runs": [{"row": "sign", "seed": 0}]})
    assert held_runs(out, {"data": {}, "budget": {"epochs": 1}}) == []
    (kept,) = held_runs(out, {"data": {}, "budget": {"epochs": 9}})
    assert (kept["row"], kept["seed"]) == ("sign", 0)


def test_every_row_is_a_run() -> None:
    budget = short_training.Budget({"dim": 24, "depth": 1}, epochs=1, batch_size=32)
    for row in learners.ROWS:
        config = short_training.config_of(row, 3, budget, "digits", learners.ROWS)
        assert config.train.epochs == 1, row


def test_a_row_with_a_ramp_is_measured_beside_its_dense_net(tmp_path: Path) -> None:
    learners.main([*SMALL, "--rows", "topk-global 0.2, ramp", "--seeds", "0", "--out", str(tmp_path / "a.json")])
    (run,) = json.loads((tmp_path / "a.json").read_text())["runs"]
    assert run["density"] == pytest.approx(0.2, abs=0.001)
    assert run["dense_float32_bytes"] > run["files"]["float16"]["bytes"]
