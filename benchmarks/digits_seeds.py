"""What does the demo's recipe reach over many seeds, and what does the same network reach with ordinary weights?

    python -m benchmarks.digits_seeds [--seeds 10]

Each seed trains the `digits` preset once as masks (strategy rp) and once dense, exports the masks, loads the file and
evaluates it on the test images, which chose nothing. Bytes are those of files on disk.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from benchmarks.record import RESULTS, write_results
from benchmarks.table import render
from pemn_compress.export import export_run
from pemn_compress.train.job import start
from pemn_compress.train.presets import resolve

__all__ = ["measure", "summary"]


def measure(seed: int, folder: Path) -> dict[str, Any]:
    """Train one seed both ways in `folder` and return accuracies in percent, bytes and seconds."""
    started = time.perf_counter()
    masked = start(resolve("digits", {"seed": seed}), runs=folder, name=f"masked-{seed}")
    masked.train()
    seconds = time.perf_counter() - started
    report = export_run(masked.run, folder / f"{seed}.pemn")
    dense = start(resolve("digits", {"seed": seed, "regular": True}), runs=folder, name=f"dense-{seed}")
    dense_result = dense.train()
    if report.before is None or report.after is None:
        raise RuntimeError("the digits are embedded, so every run can be evaluated")
    return {
        "seed": seed,
        "accuracy_trained": report.before.accuracy,
        "accuracy_loaded": report.after.accuracy,
        "file_bytes": (folder / f"{seed}.pemn").stat().st_size,
        "ratio_float32": report.ledger.ratio_float32,
        "dense_accuracy": dense_result.test.accuracy,
        "dense_bytes": report.ledger.dense_float32,
        "seconds": seconds,
    }


def summary(rows: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Return mean, standard deviation, least and greatest of every column but the seed."""
    functions: Mapping[str, Callable[[list[float]], float]] = {
        "mean": statistics.fmean,
        "sd": lambda values: statistics.stdev(values) if len(values) > 1 else 0.0,
        "min": min,
        "max": max,
    }
    columns = [key for key in rows[0] if key != "seed"]
    return {
        column: {name: function([float(row[column]) for row in rows]) for name, function in functions.items()}
        for column in columns
    }


def main() -> None:
    """Measure, print and write `results/digits_seeds.json`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10, help="seeds 0 to N - 1")
    parser.add_argument("--out", type=Path, default=RESULTS / "digits_seeds.json")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rows = [measure(seed, Path(folder)) for seed in range(arguments.seeds)]
    total = summary(rows)
    header = ("figure", "mean", "sd", "min", "max")
    print(render(header, [(name, *values.values()) for name, values in total.items()]))
    print(f"wrote {write_results(arguments.out, {'summary': total, 'runs': rows})}")


if __name__ == "__main__":
    main()
