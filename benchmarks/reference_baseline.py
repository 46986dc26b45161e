"""Do the paper's preset and our default learn what the reference's algorithm learns, and how soon does each?

    python -m benchmarks.reference_baseline --data folder:PATH --describe "CIFAR-10 as JPEG files"
    python -m benchmarks.reference_baseline --summarise [PATH]

Every strategy of the paper is trained by the reference's algorithm (`benchmarks/reference`) and by `--preset paper`
with equal net, images, batch size, epochs, rate and augmentation; our default recipe once beside them. The validation
images are the same for all and choose the epoch whose test accuracy counts. Other seeds and strategies that `--out`
holds stay where all else is the same.

How soon is told in images until the end of the first epoch with a fixed validation accuracy, `GOALS`, low enough for
every run to reach it. The seconds are those images over the throughput that `reference_speed` measured for the same
net and images on an idle machine: runs as long as these share theirs, so their own seconds (kept with each run) say
nothing. `--summarise` does that again from the runs that a result file holds, and trains nothing.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.images import load_images
from benchmarks.record import RESULTS, held_runs, write_results
from benchmarks.reference.runs import describe, net_options, ours, recipe_options
from benchmarks.reference.training import Baseline
from benchmarks.table import render
from pemn_compress.data import Splits
from pemn_compress.train.device import resolve_device

__all__ = ["GOALS", "STRATEGIES", "main", "summarise", "summary"]

STRATEGIES: Mapping[str, Mapping[str, Any]] = {
    "full": {"strategy": "full"},
    "one-layer": {"strategy": "one-layer"},
    "mp": {"strategy": "mp"},
    "rp 1e-1": {"ratio": 1e-1},
    "rp 1e-2": {"ratio": 1e-2},
    "rp 1e-3": {"ratio": 1e-3},
}
GOALS: Mapping[str, float] = {name: 25.0 if name in ("rp 1e-2", "rp 1e-3") else 30.0 for name in STRATEGIES}
"""Validation accuracy to reach, in percent. The short vectors learn less, and their seeds differ more."""
_REFERENCE, _PAPER, _DEFAULT = "reference", "paper preset", "default"


def run_reference(options: Mapping[str, Any], splits: Splits, workers: int) -> dict[str, Any]:
    """Train the reference's algorithm and remember the epoch with the best validation accuracy."""
    config = ours("paper", options).config
    baseline = Baseline(config, splits, resolve_device(config.train.device), workers=workers)
    epochs, best, kept = [], -1.0, baseline.weights()
    began = time.perf_counter()
    for _ in range(config.train.epochs):
        epochs.append(baseline.epoch())
        if epochs[-1]["validation_accuracy"] > best:
            best, kept = epochs[-1]["validation_accuracy"], baseline.weights()
    wall = time.perf_counter() - began
    baseline.net.load_state_dict(kept)
    return {"epochs": epochs, "seconds": wall, "test_accuracy": baseline.accuracy(splits.test)}


def run_ours(preset: str, options: Mapping[str, Any], splits: Splits) -> dict[str, Any]:
    """Train one of our presets."""
    result, reports = ours(preset, options).train(splits)
    keys = ("train_loss", "validation_accuracy", "images_per_second", "seconds")
    epochs = [{key: getattr(report, key) for key in keys} for report in reports]
    return {"epochs": epochs, "seconds": result.seconds, "test_accuracy": result.test.accuracy}


def epochs_to(accuracy: float, run: Mapping[str, Any]) -> int | None:
    """Epochs until the first with that validation accuracy; None when there is none."""
    for number, epoch in enumerate(run["epochs"], 1):
        if epoch["validation_accuracy"] >= accuracy:
            return number
    return None


def idle_speeds(facts: Mapping[str, Any], path: Path = RESULTS / "reference_speed.json") -> dict[str, float]:
    """Images a second of each side on an idle machine; nothing where another net or other images were measured."""
    if not path.is_file():
        return {}
    found = json.loads(path.read_text())
    recipe = {key: value for key, value in facts["shared"].items() if key != "epochs"}
    mine = json.loads(json.dumps([facts["data"], recipe, facts["reference_workers"]]))
    if [found["data"], found["shared"], found["reference_workers"]] != mine:
        return {}
    speeds = {row["row"]: float(row["images_per_second"]["median"]) for row in found["rows"]}
    names = {_REFERENCE: _REFERENCE, _PAPER: _PAPER, _DEFAULT: "default recipe"}
    return {side: speeds[name] for side, name in names.items() if name in speeds}


def summary(runs: Sequence[Mapping[str, Any]], facts: Mapping[str, Any], speeds: Mapping[str, float]) -> list[Any]:
    """Every strategy and side over its seeds: mean and spread, paired differences from the reference, and how soon.

    speeds: images a second of each side; without one there are no seconds.
    """
    rows = []
    for strategy, side in dict.fromkeys((run["strategy"], run["side"]) for run in runs):
        mine = {run["seed"]: run for run in runs if (run["strategy"], run["side"]) == (strategy, side)}
        against = "full" if side == _DEFAULT else strategy
        base = {run["seed"]: run for run in runs if (run["strategy"], run["side"]) == (against, _REFERENCE)}
        waits = [epochs_to(GOALS[strategy], run) for run in mine.values()]
        final = [run["epochs"][-1]["validation_accuracy"] for run in mine.values()]
        test = [run["test_accuracy"] for run in mine.values()]
        apart = [run["test_accuracy"] - base[seed]["test_accuracy"] for seed, run in mine.items() if seed in base]
        reached = [facts["data"]["train"] * wait for wait in waits if wait is not None]
        images = _spread(reached) if len(reached) == len(mine) else None
        clock = [
            sum(epoch["seconds"] for epoch in run["epochs"][:wait])
            for run, wait in zip(mine.values(), waits, strict=True)
            if wait is not None
        ]
        rows.append(
            {
                "strategy": strategy,
                "side": side,
                "seeds": len(mine),
                "test_accuracy": _spread(test),
                "last_validation_accuracy": _spread(final),
                "test_points_over_reference": _spread(apart) if apart else None,
                "validation_accuracy_to_reach": GOALS[strategy],
                "images_to_reach": images,
                "seconds_to_reach": _spread(clock) if images else None,
                "idle_seconds_to_reach": round(images["mean"] / speeds[side], 1) if images and side in speeds else None,
            }
        )
    return rows


def summarise(path: Path) -> None:
    """Write a result file's summary anew from its runs; these, and where they were measured, stay as they are."""
    found = json.loads(path.read_text())
    found["summary"] = summary(found["runs"], found, idle_speeds(found))
    write_results(path, found)
    print(show(found["summary"]))


def _spread(values: Sequence[float]) -> dict[str, float]:
    spread = statistics.stdev(values) if len(values) > 1 else 0.0
    return {
        "mean": round(statistics.mean(values), 2),
        "sd": round(spread, 2),
        "least": round(min(values), 2),
        "most": round(max(values), 2),
    }


def show(found: Sequence[Mapping[str, Any]]) -> str:
    """The summary as a table."""
    rows = [
        [
            row["strategy"],
            row["side"],
            f"{row['test_accuracy']['mean']:.2f}",
            f"{row['test_accuracy']['sd']:.2f}",
            f"{row['test_points_over_reference']['mean']:+.2f}" if row["test_points_over_reference"] else "",
            f"{row['validation_accuracy_to_reach']:.0f}",
            row["images_to_reach"] and round(row["images_to_reach"]["mean"]),
            row["idle_seconds_to_reach"],
        ]
        for row in found
    ]
    return render(["strategy", "side", "test %", "sd", "points over", "goal %", "images to it", "s if idle"], rows)


def _key(run: Mapping[str, Any]) -> tuple[Any, ...]:
    sides = (_REFERENCE, _PAPER, _DEFAULT)
    return run["seed"], list(STRATEGIES).index(run["strategy"]), sides.index(run["side"])


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    net_options(parser)
    parser.add_argument("--epochs", type=int, default=5, help="fives make both schedules turn at the same steps")
    parser.add_argument("--lr", type=float, default=0.05, help="of the reference and of the paper's preset")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--strategies", nargs="+", choices=list(STRATEGIES), default=list(STRATEGIES))
    parser.add_argument("--out", type=Path, default=RESULTS / "reference_baseline.json")
    summing = argparse.ArgumentParser(add_help=False)
    summing.add_argument("--summarise", type=Path, nargs="?", const=RESULTS / "reference_baseline.json")
    alone, rest = summing.parse_known_args(arguments)
    if alone.summarise:
        summarise(alone.summarise)
        return
    options = parser.parse_args(rest)
    if options.threads:
        torch.set_num_threads(options.threads)
    splits = load_images(options.data, options.limit_train)
    shared = {**recipe_options(options), "epochs": options.epochs}
    facts = {
        "data": describe(splits, options.describe),
        "shared": shared,
        "lr": options.lr,
        "reference_workers": options.reference_workers,
    }
    runs = held_runs(options.out, facts)
    speeds = idle_speeds(facts)

    def keep(strategy: str, side: str, seed: int, found: Mapping[str, Any]) -> None:
        done = {"strategy": strategy, "side": side, "seed": seed, **found}
        runs[:] = [run for run in runs if _key(run) != _key(done)] + [done]
        runs.sort(key=_key)
        print(f"{strategy}, {side}, seed {seed}: {found['test_accuracy']:.2f} %", flush=True)
        write_results(options.out, {**facts, "summary": summary(runs, facts, speeds), "runs": runs})

    for seed in options.seeds:
        own = {**shared, "seed": seed, "device": options.device}
        for strategy in options.strategies:
            paper = {**own, **STRATEGIES[strategy], "lr": options.lr}
            keep(strategy, _REFERENCE, seed, run_reference(paper, splits, options.reference_workers))
            keep(strategy, _PAPER, seed, run_ours("paper", paper, splits))
        if "full" in options.strategies:
            keep("full", _DEFAULT, seed, run_ours("default", own, splits))
    print(show(summary(runs, facts, speeds)))


if __name__ == "__main__":
    main()
