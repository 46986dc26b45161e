from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from benchmarks import load_in_place


def test_every_way_fills_the_model_and_is_timed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = torch.get_num_threads()
    try:
        load_in_place.main(["--repeats", "2", "--side", "16", "--out", str(tmp_path / "a.json")])
    finally:
        torch.set_num_threads(before)
    found = json.loads((tmp_path / "a.json").read_text())
    assert found["weights"] == 2560
    for threads in ("1", "2"):
        ways = found["ways_by_threads"][threads]
        assert set(load_in_place.RIVALS) < ways.keys()
        assert ways["safetensors float32"]["warm"]["time_over"]["safetensors float32"] == 1.0
        assert all(way[cache]["median_ms"] > 0 for way in ways.values() for cache in ("warm", "cold"))
    assert "pemn full" in capsys.readouterr().out


def test_a_way_that_gives_other_values_is_named() -> None:
    model = torch.nn.Linear(2, 2)
    found = {name: (Path(), lambda: None) for name in ("pemn full", *load_in_place.RIVALS)}
    with pytest.raises(load_in_place.PemnError, match=r"^safetensors float32 gives other values for weight$"):
        load_in_place._check(model, found)
