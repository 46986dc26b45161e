"""Which masks learn how much in the same short time on the CPU, and does every file give the same accuracy back?

    python -m benchmarks.short_training --data folder:PATH --describe "CIFAR-10 as JPEG files"

Every row trains the same ConvMixer on the same images for the same epochs; the recipe beside it is the row's own. The
epoch is chosen on validation images, the test images are looked at once a run. Every masked net is then written to
`.pemn` (what is not masked in float16, in log8, and lossless), loaded and evaluated again. Runs of other rows and seeds
that `--out` holds stay where data and budget are the same; each run names the code it was measured with.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import nn

from benchmarks.environment import environment
from benchmarks.images import load_images
from benchmarks.record import RESULTS, held_runs, write_results
from benchmarks.table import render
from pemn_compress import fit, load_model, save_model
from pemn_compress.data import Splits
from pemn_compress.masking import masked_weights
from pemn_compress.train.building import build_model
from pemn_compress.train.evaluate import evaluate
from pemn_compress.train.presets import resolve
from pemn_compress.train.progress import EpochReport, Progress
from pemn_compress.train.run_config import RunConfig
from pemn_compress.train.sources import Sources

# A row: a preset and the options that it changes. Dense nets want a smaller rate, chosen on validation images.
Rows = Mapping[str, tuple[str, Mapping[str, Any]]]
ROWS: Rows = {
    "dense": ("default", {"regular": True, "lr": 0.005}),
    "default": ("default", {}),
    "rp 251 values": ("default", {"strategy": "rp"}),
    "rp 1e-3": ("default", {"strategy": "rp", "ratio": 1e-3}),
    "paper full": ("paper", {"strategy": "full"}),
    "paper one-layer": ("paper", {"strategy": "one-layer"}),
    "paper mp": ("paper", {"strategy": "mp"}),
    "paper rp 1e-1": ("paper", {"ratio": 1e-1}),
    "paper rp 1e-2": ("paper", {"ratio": 1e-2}),
    "paper rp 1e-3": ("paper", {"ratio": 1e-3}),
}
# How everything that is not masked is written: name -> options of save_model.
Files = Mapping[str, Mapping[str, Any]]
FILES: Files = {
    "float16": {},
    "log8": {"residual_dtype": "log8"},
    "lossless": {"lossless": True},
}


@dataclasses.dataclass(frozen=True)
class Budget:
    """What all rows share: net, time and augmentation, whatever the row's preset says."""

    model_args: Mapping[str, int]
    epochs: int
    batch_size: int
    threads: int = 1
    model: str = "convmixer"
    flip: bool = True
    shift: int = 2
    crop_scale: float = 1.0
    randaugment_n: int = 0
    jitter: float = 0.0
    erasing: float = 0.0


class _Epochs(Progress):
    """Collects what each epoch took and gave."""

    def __init__(self) -> None:
        self.reports: list[EpochReport] = []

    def epoch(self, report: EpochReport) -> None:
        self.reports.append(report)


def config_of(row: str, seed: int, budget: Budget, data: str, rows: Rows = ROWS) -> RunConfig:
    """The run that a row is with one seed."""
    preset, options = rows[row]
    shared = dataclasses.asdict(budget)
    return resolve(preset, {**shared, **options, "data": data, "seed": seed, "device": "cpu"})


def run_row(
    row: str, seed: int, budget: Budget, splits: Splits, folder: Path, rows: Rows = ROWS, files: Files = FILES
) -> dict[str, Any]:
    """Train, save, load and evaluate one row with one seed; `folder` takes the files."""
    config = config_of(row, seed, budget, splits.spec.name, rows)
    described = splits.spec.to_input()
    model = build_model(config, described)
    sources = Sources(config, splits.spec, {})
    sources.begin_(model)
    watched = _Epochs()
    began = time.perf_counter()
    result = fit(model, splits, config.train, progress=watched, teacher=sources.teacher)
    wall = time.perf_counter() - began
    record: dict[str, Any] = {
        "row": row,
        "seed": seed,
        "mask": config.mask and config.mask.to_dict(),
        "preset": rows[row][0],
        "recipe": {name: getattr(config.train, name) for name in ("lr", "weight_decay", "schedule", "grad_clip")},
        "best_epoch": result.best_epoch,
        "validation_accuracy": result.validation and result.validation.accuracy,
        "validation_by_epoch": [report.validation_accuracy for report in watched.reports],
        "test_accuracy": result.test.accuracy,
        "test_correct": result.test.correct,
        "density": result.density,
        "training_seconds": round(wall, 1),
        "epoch_seconds": round(statistics.median(report.seconds for report in watched.reports), 2),
        "images_per_second": round(statistics.median(report.images_per_second for report in watched.reports), 1),
    }
    plain = dataclasses.replace(config.train, density_ramp=0.0)
    dense_model = build_model(dataclasses.replace(config, mask=None, train=plain), described)
    safetensors.torch.save_file(dense_model.state_dict(), folder / "dense.safetensors")
    record["dense_float32_bytes"] = (folder / "dense.safetensors").stat().st_size
    if config.mask is None:
        safetensors.torch.save_file(model.state_dict(), folder / f"{row}, seed {seed}.safetensors")
    if config.mask is not None:
        record["files"] = {
            name: _through_a_file(model, splits, folder / f"{name}.pemn", how) for name, how in files.items()
        }
    return record


def _through_a_file(model: nn.Module, splits: Splits, path: Path, options: Mapping[str, Any]) -> dict[str, Any]:
    """Save and load a masked net; what the file takes, and the accuracy of what comes back."""
    ledger = save_model(model, path, input=splits.spec.to_input(), force=True, **options)
    plain = load_model(path)
    after = evaluate(plain, splits.test, splits.spec)
    state = plain.state_dict()
    return {
        "bytes": path.stat().st_size,
        "mask_bytes": ledger.masks,
        "residual_bytes": ledger.residual,
        "header_bytes": ledger.header,
        "ratio_to_dense_float32": round(ledger.ratio_float32, 2),
        "paper_ratio": round(ledger.paper_ratio, 2),
        "test_accuracy": after.accuracy,
        "test_correct": after.correct,
        "masked_weights_equal": all(
            _sha256(weight(score)) == _sha256(state[name]) for name, weight, score in masked_weights(model)
        ),
    }


def _sha256(tensor: torch.Tensor) -> str:
    return hashlib.sha256(tensor.detach().contiguous().numpy().tobytes()).hexdigest()


def summary(runs: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Mean and spread of every row over its seeds; accuracies in percent."""
    out = []
    for row in dict.fromkeys(run["row"] for run in runs):
        mine = [run for run in runs if run["row"] == row]
        before = [run["test_accuracy"] for run in mine]
        entry: dict[str, Any] = {
            "row": row,
            "seeds": len(mine),
            "test_accuracy_mean": round(statistics.mean(before), 2),
            "test_accuracy_min": round(min(before), 2),
            "test_accuracy_max": round(max(before), 2),
            "images_per_second": round(statistics.median(run["images_per_second"] for run in mine)),
            "file_bytes": mine[0]["dense_float32_bytes"],
            "ratio": 1.0,
            **{f"after_{name}_mean": None for name in FILES},
        }
        if all("files" in run for run in mine):
            for name in FILES:
                after = [run["files"][name]["test_accuracy"] for run in mine]
                entry[f"after_{name}_mean"] = round(statistics.mean(after), 2)
            for name in FILES:
                entry[f"{name}_bytes"] = round(statistics.mean(run["files"][name]["bytes"] for run in mine))
            entry["file_bytes"] = entry["float16_bytes"]
            entry["ratio"] = round(mine[0]["dense_float32_bytes"] / entry["file_bytes"], 1)
            entry["lossless_equals_before"] = all(
                run["files"]["lossless"]["test_correct"] == run["test_correct"] for run in mine
            )
        out.append(entry)
    return out


def show(runs: Sequence[Mapping[str, Any]]) -> str:
    """The summary as a table."""
    columns = {
        "row": "row",
        "seeds": "seeds",
        "test %": "test_accuracy_mean",
        "min": "test_accuracy_min",
        "max": "test_accuracy_max",
        "float16 %": "after_float16_mean",
        "log8 %": "after_log8_mean",
        "lossless %": "after_lossless_mean",
        "file B": "file_bytes",
        "ratio": "ratio",
        "images/s": "images_per_second",
    }
    return render(list(columns), [[row[key] for key in columns.values()] for row in summary(runs)])


def parser_of(what: str | None, rows: Rows) -> argparse.ArgumentParser:
    """The arguments of a benchmark that trains rows under one short budget."""
    parser = argparse.ArgumentParser(description=what, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="a data set's name, or folder:PATH")
    parser.add_argument("--describe", default=None, help="what the images are, for the results (never their path)")
    parser.add_argument("--rows", nargs="*", choices=list(rows), default=list(rows))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1])
    parser.add_argument("--limit-train", type=int, default=15_000, help="training images (0: all)")
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--dim", type=int, default=48)
    parser.add_argument("--depth", type=int, default=4)
    parser.add_argument("--patch", type=int, default=4)
    parser.add_argument("--threads", type=int, default=1)
    return parser


def prepare(options: argparse.Namespace) -> tuple[Splits, Budget, dict[str, Any]]:
    """The images, the budget and what to say of the images, from parsed arguments."""
    torch.set_num_threads(options.threads)
    splits = load_images(options.data, options.limit_train)
    net = {"dim": options.dim, "depth": options.depth, "patch": options.patch}
    budget = Budget(net, options.epochs, options.batch_size, options.threads)
    facts = {
        "kind": splits.spec.name.partition(":")[0],
        "description": options.describe,
        "classes": splits.spec.classes,
        "size": list(splits.spec.size),
        "train": len(splits.train),
        "validation": len(splits.validation),
        "test": len(splits.test),
    }
    return splits, budget, facts


def main(arguments: Sequence[str] | None = None) -> None:
    parser = parser_of(__doc__, ROWS)
    parser.add_argument("--out", type=Path, default=RESULTS / "short_training.json")
    options = parser.parse_args(arguments)
    splits, budget, facts = prepare(options)
    shared = {"data": facts, "budget": dataclasses.asdict(budget)}
    code = environment()["code"]
    runs = held_runs(options.out, shared)
    with tempfile.TemporaryDirectory() as folder:
        for seed in options.seeds:
            for row in options.rows:
                run = {**run_row(row, seed, budget, splits, Path(folder)), "code": code}
                runs = [*(old for old in runs if (old["row"], old["seed"]) != (row, seed)), run]
                runs.sort(key=lambda each: (each["seed"], list(ROWS).index(each["row"])))
                print(f"{row}, seed {seed}: {run['test_accuracy']:.2f} %", flush=True)
                write_results(options.out, {**shared, "summary": summary(runs), "runs": runs})
    print(show(runs))


if __name__ == "__main__":
    main()
