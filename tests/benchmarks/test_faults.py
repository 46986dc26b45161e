from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.faults import fuzzed, main


def test_a_short_run_writes_its_figures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["--cases", "300", "--kills", "6", "--out", str(tmp_path / "found.json"), "--keep", str(tmp_path)])
    found = json.loads((tmp_path / "found.json").read_text())
    run, kills = found["fuzz"], found["kills"]
    assert (run["cases_asked"], run["cases"], run["escapes"], run["first_escapes"]) == (300, 300, 0, [])
    assert run["accepted"] + run["refused"] == 300
    assert sum(run["refusals"].values()) == run["refused"]
    assert len(run["refusals"]) == run["kinds_of_refusal"] > 20
    assert "many_chunks" in run["originals"]
    assert 0 < run["peak_traced_bytes"] < 1 << 24
    for each in kills.values():
        assert each["kills"] == 6
        assert each["old"] + each["new"] + each["torn"] == 6
    assert kills["atomic"]["torn"] == 0
    assert "environment" in found
    assert "patches applied" in capsys.readouterr().out.replace("_", " ")


def test_a_run_that_ends_by_its_time_and_one_that_finds_something_say_so() -> None:
    from fuzz import Stats, fuzz

    assert fuzzed(fuzz(300, 0, seconds=0), 300, 0)["cases"] == 0
    found = fuzzed(Stats(escapes=["IndexError: x"] * 12), 300, 0)
    assert (found["escapes"], len(found["first_escapes"])) == (12, 10)
