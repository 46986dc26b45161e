from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch

from benchmarks import load_time
from pemn_compress import PemnError


@pytest.mark.skipif(not hasattr(os, "posix_fadvise"), reason="no posix_fadvise")
def test_every_way_is_timed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(load_time, "SIZES", {"tiny": {"dim": 32, "depth": 1}})
    load_time.main(["--sizes", "tiny", "--repeats", "2", "--out", str(tmp_path / "out.json")])
    (size,) = json.loads((tmp_path / "out.json").read_text())["sizes"]
    assert len(size["ways"]) == 9
    assert size["ways"]["load_file full"]["bytes"] < size["ways"]["safetensors float16"]["bytes"]
    for way in size["ways"].values():
        for cache in ("warm", "cold"):
            assert 0 < way[cache]["min_ms"] <= way[cache]["median_ms"]
    assert size["ways"]["safetensors float32"]["ratio_to_safetensors_float32"] == {"warm": 1.0, "cold": 1.0}
    assert "load_model full" in capsys.readouterr().out


def test_times_of_unequal_weights_are_refused() -> None:
    state = {"weight": torch.tensor([1.0, 0.1])}
    names = ("load_file full", "load_model full", "torch.load float32", "safetensors float32")
    states = {name: dict(state) for name in names}
    states["safetensors float16"] = {"weight": state["weight"].half().float()}
    load_time.check_equal(states)
    states["load_model full"]["weight"] = state["weight"] + 1
    with pytest.raises(PemnError, match="load_model full gives other values for weight"):
        load_time.check_equal(states)
