"""Where results go: one JSON file a benchmark, beside the code, whole or absent."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.environment import environment
from pemn_formats.atomic import atomic_write

__all__ = ["RESULTS", "held_runs", "write_results"]

RESULTS = Path(__file__).parent / "results"


def held_runs(path: Path, shared: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The runs that a result file holds under the same `shared` facts; none when it is not there or has others.

    A run that does not name its code comes from the code that the file names.
    """
    if not path.is_file():
        return []
    found = json.loads(path.read_text())
    same = all(key in found and found[key] == value for key, value in json.loads(json.dumps(shared)).items())
    return [{"code": found["environment"]["code"], **run} for run in found["runs"]] if same else []


def write_results(path: Path, results: Mapping[str, Any]) -> Path:
    """Write results with the environment they come from, replacing earlier ones, and return the path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"environment": environment(), **results}, indent=1, allow_nan=False)
    with atomic_write(path, force=True) as file:
        file.write(f"{text}\n".encode())
    return path
