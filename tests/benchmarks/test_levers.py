from __future__ import annotations

import json
from pathlib import Path

from benchmarks import levers, short_training

SMALL = ["--data", "digits", "--dim", "24", "--depth", "1", "--patch", "2", "--epochs", "1", "--limit-train", "100"]


def test_a_row_learns_and_starts_from_the_nets_of_others(tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    rows = ["dense", "sign from dense, teacher", "sign from dense", "sign"]
    levers.main([*SMALL, "--rows", *rows, "--seeds", "0", "--out", str(out)])
    found = {run["row"]: run for run in json.loads(out.read_text())["runs"]}
    assert list(found) == ["sign", "dense", "sign from dense", "sign from dense, teacher"]
    cost = found["dense"]["training_seconds"]
    assert found["sign from dense"]["source_seconds"] == cost
    assert found["sign from dense, teacher"]["source_seconds"] == cost
    assert "source_seconds" not in found["sign"]
    assert "files" not in found["dense"]


def test_every_row_is_a_run_whose_sources_are_dense_rows() -> None:
    budget = short_training.Budget({"dim": 24, "depth": 1}, epochs=6, batch_size=32)
    configs = {row: short_training.config_of(row, 3, budget, "digits", levers.ROWS) for row in levers.ROWS}
    for row, config in configs.items():
        for source in filter(None, (config.teacher, config.init_from)):
            assert configs[source].mask is None, row
    assert configs["dense 3 epochs"].train.epochs == configs["3 epochs of sign from 3 of dense"].train.epochs == 3
