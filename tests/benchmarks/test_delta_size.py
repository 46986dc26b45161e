from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import readme_files
from benchmarks.delta_size import main, pairs


def test_neighbours_and_the_whole_second_half_are_compared() -> None:
    assert pairs(30) == [(1, 2), (15, 16), (15, 30), (28, 29), (29, 30)]
    assert pairs(3) == [(1, 2), (1, 3), (2, 3)]


def test_a_short_run_writes_its_sizes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["--quick", "--out", str(tmp_path / "found.json")])
    found = json.loads((tmp_path / "found.json").read_text())
    (run,) = found["runs"]
    assert [row["epochs"] for row in run["patches"]] == [[1, 2], [1, 3], [2, 3]]
    for row in run["patches"]:
        assert row["patch_bytes"] == row["patch_header"] + row["patch_masks"] + row["patch_residual"]
        assert row["patch_bytes"] < min(row["old_bytes"], row["new_bytes"])
        assert row["zstd_patch_from_bytes"] < row["new_bytes"]
    assert "2 to 3" in capsys.readouterr().out
    for bundle in found["bundles"]:
        assert max(bundle["file_bytes"].values()) < bundle["bundle_bytes"] < sum(bundle["file_bytes"].values())
    seed, vector = (sum(each["file_bytes"].values()) - each["bundle_bytes"] for each in found["bundles"])
    assert vector - seed > 2_000  # 1,639 values are there once instead of twice
    text = readme_files.delta_size(found)
    assert "| mlp, epoch 1 to 2 |" in text
    assert "a stored vector" in text
