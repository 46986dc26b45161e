"""What each learner gives in the same short time on the CPU, one change a row.

    python -m benchmarks.learners --data folder:PATH --describe "CIFAR-10 as JPEG files" [--rows ROW...]

As `short_training`, whose code it uses: the same ConvMixer, images and epochs for every row, and every row is the
default preset with one change. A choice between rows is made on validation images; test images are looked at once a
run and stand beside them. Runs of other rows that `--out` holds stay where data and budget are the same, so rows can be
measured one at a time; `--merge` takes in runs of other result files as well (`--rows` without a name trains nothing).
"""

from __future__ import annotations

import dataclasses
import json
import statistics
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.environment import environment
from benchmarks.record import RESULTS, held_runs, write_results
from benchmarks.short_training import Budget, Rows, parser_of, prepare, run_row
from benchmarks.table import render
from pemn_compress.data import Splits

__all__ = ["ROWS", "main", "summary"]

ROWS: Rows = {
    "default": ("default", {}),
    "sign": ("default", {"alphabet": "sign"}),
    "ternary 0.5": ("default", {"alphabet": "ternary", "density": 0.5}),
    "channel scale": ("default", {"scale": "channel"}),
    "topk 0.5": ("default", {"learner": "topk"}),
    "topk 0.2": ("default", {"learner": "topk", "density": 0.2}),
    "topk-global 0.5": ("default", {"learner": "topk-global"}),
    "topk-global 0.2": ("default", {"learner": "topk-global", "density": 0.2}),
    "topk-global 0.2, ramp": ("default", {"learner": "topk-global", "density": 0.2, "density_ramp": 0.5}),
    "rp 251": ("default", {"strategy": "rp", "values": 251}),
    "rp 251, learned": ("default", {"strategy": "rp", "values": 251, "learn_values": True}),
    "rp 25": ("default", {"strategy": "rp", "values": 25}),
    "rp 25, learned": ("default", {"strategy": "rp", "values": 25, "learn_values": True}),
}
"""What each row changes: a preset and options by the names of `RunConfig.to_options`."""


_FILES: Mapping[str, Mapping[str, Any]] = {"float16": {}}


def summary(runs: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Means of every row over its seeds, and its difference from the default on the same seeds; accuracies in %."""
    out = []
    for row in dict.fromkeys(run["row"] for run in runs):
        mine = [run for run in runs if run["row"] == row]
        default = {run["seed"]: run for run in runs if run["row"] == "default"}
        paired = [(run, default[run["seed"]]) for run in mine if run["seed"] in default]
        entry: dict[str, Any] = {"row": row, "seeds": len(mine)}
        for split in ("validation", "test"):
            key = f"{split}_accuracy"
            entry[f"{split}_mean"] = round(statistics.mean(run[key] for run in mine), 2)
            entry[f"{split}_over_default"] = (
                round(statistics.mean(run[key] - base[key] for run, base in paired), 2) if paired else None
            )
        files = [run["files"]["float16"] for run in mine if "files" in run]
        entry["density"] = round(statistics.mean(run["density"] for run in mine), 3) if files else None
        sizes = [file["bytes"] for file in files] or [run["dense_float32_bytes"] for run in mine]
        entry["file_bytes"] = round(statistics.mean(sizes))
        entry["images_per_second"] = round(statistics.median(run["images_per_second"] for run in mine))
        out.append(entry)
    return out


def joined(rows: Rows, *parts: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """All runs of `rows`, of equal row and seed the last one; in their order, then by seed."""
    last = {(run["row"], run["seed"]): run for part in parts for run in part}
    return [last[key] for row in rows for key in sorted(last) if key[0] == row]


def main(
    arguments: Sequence[str] | None = None, *, what: str | None = __doc__, rows: Rows = ROWS, name: str = "learners"
) -> None:
    """Measure rows and write what the result file of that name then holds; `what` is the help's text."""
    parser = parser_of(what, rows)
    parser.add_argument("--out", type=Path, default=RESULTS / f"{name}.json")
    parser.add_argument("--merge", type=Path, nargs="+", default=[], help="result files whose runs are taken in")
    options = parser.parse_args(arguments)
    splits, budget, facts = prepare(options)
    shared = dataclasses.asdict(budget)
    code = environment()["code"]
    with tempfile.TemporaryDirectory() as folder:
        runs: list[Mapping[str, Any]] = [
            run for path in options.merge for run in held_runs(path, {"data": facts, "budget": shared})
        ]
        for seed in options.seeds:
            for row in options.rows:
                run = _measured(row, rows, seed, budget, splits, Path(folder))
                runs.append({**run, "code": code})
                print(f"{row}, seed {seed}: {run['validation_accuracy']:.2f} % of validation images", flush=True)
                _write(options.out, facts, shared, rows, runs)
    everything = _write(options.out, facts, shared, rows, runs)
    columns = [(name.replace("_", " "), name) for name in summary(everything)[0]]
    print(render([title for title, _ in columns], [[row[name] for _, name in columns] for row in summary(everything)]))


def _measured(row: str, rows: Rows, seed: int, budget: Budget, splits: Splits, folder: Path) -> dict[str, Any]:
    """A row's run, after those of the rows whose nets it learns or starts from: their seconds stand in its record.

    `folder` remembers runs and the weights of dense ones.
    """
    kept = folder / f"{row}, seed {seed}.json"
    if kept.exists():
        found: dict[str, Any] = json.loads(kept.read_text())
        return found
    preset, options = rows[row]
    wanted = {key: options[key] for key in ("teacher", "init_from") if key in options}
    before = [_measured(name, rows, seed, budget, splits, folder) for name in dict.fromkeys(wanted.values())]
    paths = {key: str(folder / f"{name}, seed {seed}.safetensors") for key, name in wanted.items()}
    run = run_row(row, seed, budget, splits, folder, {row: (preset, {**options, **paths})}, _FILES)
    if before:
        run["source_seconds"] = round(sum(source["training_seconds"] for source in before), 1)
    kept.write_text(json.dumps(run))
    return run


def _write(
    out: Path, facts: Mapping[str, Any], budget: Mapping[str, Any], rows: Rows, runs: Sequence[Mapping[str, Any]]
) -> list[Mapping[str, Any]]:
    """Add runs to a result file and return all that it then holds."""
    everything = joined(rows, held_runs(out, {"data": facts, "budget": budget}), runs)
    write_results(out, {"data": facts, "budget": budget, "summary": summary(everything), "runs": everything})
    return everything


if __name__ == "__main__":
    main()
