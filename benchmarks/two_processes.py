"""Does one model trained by two processes end where one process ends, with equal masks in both, and how fast is it?

    python -m benchmarks.two_processes [--seeds 5] [--speed-epochs 3]

Each seed trains the `digits` preset once in this process and once in two that `torchrun` starts
(DistributedDataParallel over gloo, the same batches cut in two, one CPU thread each). Masks are compared by their
SHA-256 in each process. Speed is the median over epochs after the first, of that small net and of a ConvMixer whose
steps take long enough to share.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from benchmarks.record import RESULTS, write_results
from benchmarks.table import render
from pemn_compress.masking import masked_weights
from pemn_compress.train.distributed import process_group, ranks
from pemn_compress.train.job import start
from pemn_compress.train.presets import resolve
from pemn_compress.train.run import RunFolder
from pemn_compress.train.run_config import RunConfig

__all__ = ["measure", "summary"]

_PROCESSES = 2
_CONVMIXER = {"dim": 64, "depth": 4, "kernel": 5, "patch": 1}


def runs(seeds: int, epochs: int | None, speed_epochs: int) -> list[tuple[str, RunConfig]]:
    """The runs by name: one for each seed, and, where speed counts, one for that alone."""
    shorter = {} if epochs is None else {"epochs": epochs}
    named = [(str(seed), resolve("digits", {"seed": seed, **shorter})) for seed in range(seeds)]
    if not speed_epochs:
        return named
    larger = {"model": "convmixer", "model_args": _CONVMIXER, "epochs": speed_epochs}
    return [*named, ("convmixer", resolve("digits", larger))]


def measure(options: RunConfig, name: str, folder: Path) -> dict[str, Any]:
    """Train one run with the processes there are; accuracies in percent, images a second, each process's masks."""
    job = start(options, runs=folder, name=name)
    result = job.train()
    codes = [weight.code(score.detach()).to(torch.int8) for _, weight, score in masked_weights(job.model)]
    mine = hashlib.sha256(b"".join(code.cpu().numpy().tobytes() for code in codes)).hexdigest()
    masks = [mine]
    if dist.is_initialized():
        masks = [""] * ranks().size
        dist.all_gather_object(masks, mine)
    speeds = [record["images_per_second"] for record in RunFolder.open(job.run.path).metrics()]
    return {
        "best_epoch": result.best_epoch,
        "validation": result.validation.accuracy if result.validation else None,
        "test": result.test.accuracy,
        "images_per_second": statistics.median(speeds[1:] or speeds),
        "seconds": result.seconds,
        "masks": masks,
    }


def all_runs(wanted: Sequence[tuple[str, RunConfig]]) -> dict[str, Any]:
    """Measure the runs, one after the other."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        return {name: measure(options, name, Path(folder)) for name, options in wanted}


def together(arguments: Sequence[str]) -> dict[str, Any]:
    """`all_runs` in two processes."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "found.json"
        line = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", _PROCESSES]
        line += ["-m", "benchmarks.two_processes", *arguments, "--worker", out]
        subprocess.run([sys.executable, *map(str, line)], check=True)
        found: dict[str, Any] = json.loads(out.read_text())
    return found


def summary(one: dict[str, Any], two: dict[str, Any]) -> dict[str, Any]:
    """Means and standard deviations over seeds of both, their differences by seed, and whether masks are equal."""
    seeds = [name for name in one if name.isdigit()]
    report: dict[str, Any] = {"masks_equal": all(len(set(run["masks"])) == 1 for run in two.values())}
    for split in ("validation", "test"):
        first, second = ([runs_[seed][split] for seed in seeds] for runs_ in (one, two))
        for name, values in (
            ("one", first),
            ("two", second),
            ("difference", [b - a for a, b in zip(first, second, strict=True)]),
        ):
            spread = statistics.stdev(values) if len(values) > 1 else 0.0
            report[f"{split}_{name}"] = {"mean": statistics.fmean(values), "sd": spread}
    for net, names in (("mlp", seeds), ("convmixer", ["convmixer"])) if "convmixer" in one else ():
        speeds = [statistics.median(runs_[name]["images_per_second"] for name in names) for runs_ in (one, two)]
        report[f"images_per_second_{net}"] = {"one": speeds[0], "two": speeds[1], "ratio": speeds[1] / speeds[0]}
    return report


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print and write `results/two_processes.json`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5, help="seeds 0 to N - 1")
    parser.add_argument("--epochs", type=int, help="of the digits preset; default: its own")
    parser.add_argument(
        "--speed-epochs", type=int, default=3, help="of the ConvMixer; 0: leave speeds out, as on a busy machine"
    )
    parser.add_argument("--out", type=Path, default=RESULTS / "two_processes.json")
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    wanted = runs(given.seeds, given.epochs, given.speed_epochs)
    if given.worker:
        with process_group():
            found = all_runs(wanted)
            if ranks().first:
                given.worker.write_text(json.dumps(found))
        return
    options = ["--seeds", str(given.seeds), "--speed-epochs", str(given.speed_epochs)]
    two = together([*options, *(["--epochs", str(given.epochs)] if given.epochs else [])])
    one = all_runs(wanted)
    total = summary(one, two)
    accuracy = [(key, *value.values()) for key, value in total.items() if "sd" in str(value)]
    print(render(("accuracy %", "mean", "sd"), accuracy))
    speed = [(key, *value.values()) for key, value in total.items() if key.startswith("images")]
    if speed:
        print(render(("", "one process", "two", "ratio"), speed))
    print(f"masks equal in both processes: {total['masks_equal']}")
    results = {
        "processes": _PROCESSES,
        "backend": "gloo",
        "epochs": wanted[0][1].train.epochs,
        "convmixer": _CONVMIXER,
        "summary": total,
        "runs": {"one": one, "two": two},
    }
    print(f"wrote {write_results(given.out, results)}")


if __name__ == "__main__":
    main()
