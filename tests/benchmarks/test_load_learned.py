"""Learned masks are loaded from files of every effort, and are the same."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from benchmarks import load_learned
from pemn_formats.codecs import EFFORTS


def test_every_effort_is_timed_beside_the_rivals(tmp_path: Path) -> None:
    before = torch.get_num_threads()
    small = ["--hidden", "32", "--depth", "2", "--epochs", "1", "--repeats", "2", "--threads", "1"]
    try:
        load_learned.main([*small, "--out", str(tmp_path / "a.json")])
    finally:
        torch.set_num_threads(before)
    found = json.loads((tmp_path / "a.json").read_text())
    assert found["weights"] == 64 * 32 + 32 * 32 + 32 * 10
    assert set(found["efforts"]) == set(EFFORTS)
    ways = found["ways_by_threads"]["1"]
    assert {f"pemn {effort}" for effort in EFFORTS} < ways.keys()
    for effort in EFFORTS:
        assert ways[f"pemn {effort}"]["file_bytes"] == found["efforts"][effort]["file_bytes"]
        assert ways[f"pemn {effort}"]["warm"]["time_over"]["safetensors float32"] > 0
