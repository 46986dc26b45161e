"""Does a run with a byte budget give a file that uses the budget and never exceeds it, and what does the net learn?

    python -m benchmarks.budgets --data folder:PATH --describe "CIFAR-10 as JPEG files"
    python -m benchmarks.budgets --data digits --preset digits --budgets 4000 7000 --seeds 0 1 --out FILE

Each budget is planned, trained, exported, loaded and evaluated as the commands do it. The epoch is chosen on validation
images; test images are looked at once a run, through the exported file. `--net KEY=VALUE` fixes an argument of the
model for all budgets, such as the patch, so that a run of minutes says something about the size; accuracies of such
runs are no measure of what the budgets can hold. `--preset` trains the net and recipe of a preset, to its end, instead.
Other budgets that `--out` holds stay where all else is the same.
"""

from __future__ import annotations

import argparse
import dataclasses
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.images import image_options
from benchmarks.record import RESULTS, held_runs, write_results
from benchmarks.table import render
from pemn_compress import load_model
from pemn_compress.data import Splits, load_data
from pemn_compress.export import export_run
from pemn_compress.plan.bytes_of_a_net import bytes_of_a_net
from pemn_compress.train.building import build_model
from pemn_compress.train.evaluate import evaluate
from pemn_compress.train.job import Job
from pemn_compress.train.presets import resolve
from pemn_compress.train.progress import EpochReport, Progress
from pemn_compress.train.run import RunFolder
from pemn_compress.train.subset import stratified_subset
from pemn_compress.train.trial import planned_for

__all__ = ["main", "run_budget"]

BUDGETS = (4_000, 12_000, 33_000, 66_000, 170_000)


class _Shown(Progress):
    def epoch(self, report: EpochReport) -> None:
        print(f"  epoch {report.epoch}: validation {report.validation_accuracy:.2f} %", flush=True)


def run_budget(budget: int, seed: int, options: Mapping[str, Any], splits: Splits, folder: Path) -> dict[str, Any]:
    """Plan, train, export and evaluate one budget; `folder` takes the run and the file.

    `options` may name the `preset` that they add to.
    """
    described = splits.spec.to_input()
    preset = options.get("preset", "default")
    chosen = {name: value for name, value in options.items() if name != "preset"}
    asked = resolve(preset, {**chosen, "data": splits.spec.name, "seed": seed, "budget": budget})
    began = time.perf_counter()
    config = planned_for(asked, splits)
    plan_seconds = time.perf_counter() - began
    foreseen = bytes_of_a_net(config, described)
    place = folder / f"{budget}-{seed}"
    place.mkdir()
    run = RunFolder.create(place, {"format": 1, "options": config.to_dict(), "input": described})
    began = time.perf_counter()
    result = Job(run, config, splits, build_model(config, described)).train(_Shown())
    seconds = time.perf_counter() - began
    path = folder / f"{budget}-{seed}.pemn"
    report = export_run(run, path, evaluate_on_test=False)
    after = evaluate(load_model(path), splits.test, splits.spec)
    size = path.stat().st_size
    return {
        "budget": budget,
        "seed": seed,
        "model": config.model,
        "model_args": dict(config.model_args),
        "epochs": config.train.epochs,
        "masked_weights": foreseen.weights,
        "foreseen_bytes": foreseen.least.file,
        "steered": foreseen.least.file > budget,
        "file_bytes": size,
        "used": round(size / budget, 5),
        "bits_per_weight": round(report.ledger.bits_per_weight, 4),
        "residual_dtypes": dict(report.residual_dtypes),
        "logit_change": round(report.logits.relative, 4),
        "best_epoch": result.best_epoch,
        "validation_accuracy": result.validation and result.validation.accuracy,
        "test_accuracy_trained": result.test.accuracy,
        "test_accuracy": after.accuracy,
        "plan_seconds": round(plan_seconds, 2),
        "training_seconds": round(seconds, 1),
    }


def show(runs: Sequence[Mapping[str, Any]]) -> str:
    """The runs as a table."""
    header = ["budget", "seed", "net", "weights", "file B", "used", "validation %", "test %", "seconds"]
    rows = [
        [
            run["budget"],
            run["seed"],
            " ".join(f"{key} {value}" for key, value in run["model_args"].items()),
            run["masked_weights"],
            run["file_bytes"],
            f"{100 * run['used']:.2f} %",
            run["validation_accuracy"],
            run["test_accuracy"],
            run["training_seconds"],
        ]
        for run in runs
    ]
    return render(header, rows)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    image_options(parser, limit_train=5_000, epochs=2)
    parser.add_argument("--budgets", nargs="+", type=int, default=list(BUDGETS), help="bytes")
    parser.add_argument("--preset", default=None, help="its net and recipe, instead of the options for these")
    parser.add_argument("--model", default="convmixer")
    parser.add_argument("--net", nargs="*", default=["patch=4"], metavar="KEY=VALUE", help="arguments of the model")
    parser.add_argument("--limit-held-out", type=int, default=2_000, help="validation and test images (0: all)")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--out", type=Path, default=RESULTS / "budgets.json")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    splits = load_data(options.data, validation=0.1, seed=0)
    limits = {"train": options.limit_train, "validation": options.limit_held_out, "test": options.limit_held_out}
    fewer = {
        name: stratified_subset(getattr(splits, name), limit, 0)
        for name, limit in limits.items()
        if 0 < limit < len(getattr(splits, name))
    }
    splits = dataclasses.replace(splits, **fewer)
    shared_options = {"threads": options.threads, "device": options.device}
    net = {key: int(value) for key, _, value in (pair.partition("=") for pair in options.net)}
    recipe: dict[str, Any] = {
        "model": options.model,
        "model_args": net,
        "epochs": options.epochs,
        "batch_size": options.batch_size,
        **shared_options,
    }
    if options.preset is not None:
        recipe = {"preset": options.preset, **shared_options}
    facts = {
        "kind": splits.spec.name.partition(":")[0],
        "description": options.describe,
        "size": list(splits.spec.size),
        "train": len(splits.train),
        "validation": len(splits.validation),
        "test": len(splits.test),
    }
    shared = {"data": facts, "recipe": recipe}
    runs = held_runs(options.out, shared)
    with tempfile.TemporaryDirectory() as folder:
        for seed in options.seeds:
            for budget in options.budgets:
                print(f"{budget:,} B, seed {seed}", flush=True)
                runs = [run for run in runs if (run["budget"], run["seed"]) != (budget, seed)]
                runs.append(run_budget(budget, seed, recipe, splits, Path(folder)))
                runs.sort(key=lambda run: (run["budget"], run["seed"]))
                write_results(options.out, {**shared, "runs": runs})
    print(show(runs))


if __name__ == "__main__":
    main()
