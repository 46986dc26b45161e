from __future__ import annotations

from typing import Any

import pytest

from benchmarks import two_processes


def found(tests: list[float], speed: float, masks: list[str]) -> dict[str, Any]:
    runs = {str(seed): test for seed, test in enumerate(tests)} | {"convmixer": 50.0}
    return {
        name: {"validation": test - 1, "test": test, "images_per_second": speed, "masks": masks}
        for name, test in runs.items()
    }


def test_the_summary_pairs_seeds_and_compares_masks() -> None:
    one, two = found([90.0, 92.0], 100.0, ["a"]), found([91.0, 92.0], 150.0, ["b", "b"])
    total = two_processes.summary(one, two)
    assert total["masks_equal"]
    assert total["test_one"]["mean"] == 91
    assert total["test_difference"] == {"mean": 0.5, "sd": pytest.approx(0.5**0.5)}
    assert total["images_per_second_convmixer"] == {"one": 100, "two": 150, "ratio": 1.5}
    two["1"]["masks"] = ["b", "c"]
    assert not two_processes.summary(one, two)["masks_equal"]


def test_a_run_alone_says_what_its_masks_are(tmp_path: Any) -> None:
    (name, options), *_ = two_processes.runs(1, 1, 1)
    first, again = (two_processes.measure(options, name, tmp_path / folder) for folder in ("a", "b"))
    assert len(first["masks"]) == 1
    assert first["masks"] == again["masks"]
    assert 0 < first["test"] <= 100
