"""How many images a second does training take in, beside the reference's algorithm on the same machine?

    python -m benchmarks.reference_speed --data folder:PATH --describe "CIFAR-10 as JPEG files"

Both train the same net on the same images with the same augmentation and batch size. They take turns, an epoch each,
so that a machine that slows down slows both. The reference (`benchmarks/reference`) changes PIL images in two workers,
sorts the scores of every layer in every step and waits for every loss. On a GPU, with the net of the README's command:

    python -m benchmarks.reference_speed --data cifar10 --device cuda --limit-train 0 --batch-size 512 \\
        --dim 256 --depth 6 --patch 2 --rounds 3
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.images import load_images
from benchmarks.record import RESULTS, write_results
from benchmarks.reference.inputs import input_speeds
from benchmarks.reference.runs import describe, net_options, ours, recipe_options
from benchmarks.reference.training import Baseline
from benchmarks.table import render
from pemn_compress.data import Splits
from pemn_compress.train.device import resolve_device

__all__ = ["OURS", "main", "measure"]

# Rows of ours: a preset and the options that the row changes.
OURS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "paper preset": ("paper", {}),
    "paper preset, contiguous memory": ("paper", {"channels_last": False}),
    "paper preset, torchvision in 2 workers": ("paper", {"workers": 2}),
    "default recipe": ("default", {}),
}
_REFERENCE = "reference"


def measure(
    splits: Splits, shared: Mapping[str, Any], *, rows: Sequence[str], rounds: int, workers: int, device: torch.device
) -> dict[str, Any]:
    """Let the reference and each row of ours train an epoch, `rounds` times after one that does not count."""
    options = {**shared, "device": str(device), "epochs": 1}
    baseline = Baseline(ours("paper", options).config, splits, device, workers=workers)
    contenders: dict[str, Callable[[], Mapping[str, float]]] = {_REFERENCE: baseline.epoch}
    for row in rows:
        preset, changed = OURS[row]
        contenders[row] = ours(preset, {**options, **changed}).one_epoch_of(splits)
    found: dict[str, list[Mapping[str, float]]] = {name: [] for name in contenders}
    for number in range(rounds + 1):
        names = list(contenders)
        for name in names[number % len(names) :] + names[: number % len(names)]:
            record = contenders[name]()
            print(f"{number} {name}: {record['images_per_second']:.0f} images/s", flush=True)
            if number:
                found[name].append(record)
    return {"rounds": rounds, "rows": [_row(name, found[name], found[_REFERENCE]) for name in found]}


def _row(name: str, mine: Sequence[Mapping[str, float]], base: Sequence[Mapping[str, float]]) -> dict[str, Any]:
    speeds = [each["images_per_second"] for each in mine]
    over = [each["images_per_second"] / other["images_per_second"] for each, other in zip(mine, base, strict=True)]
    whole = [other["seconds"] / each["seconds"] for each, other in zip(mine, base, strict=True)]
    return {
        "row": name,
        "images_per_second": _spread(speeds),
        "times_the_reference": _spread(over),
        "times_the_reference_with_evaluation": _spread(whole),
    }


def _spread(values: Sequence[float]) -> dict[str, float]:
    return {
        "median": round(statistics.median(values), 3),
        "least": round(min(values), 3),
        "most": round(max(values), 3),
    }


def show(results: Mapping[str, Any]) -> str:
    """The rows as a table."""
    keys = ("images_per_second", "times_the_reference", "times_the_reference_with_evaluation")
    rows = [[row["row"], *(f"{row[key]['median']:.2f}" for key in keys)] for row in results["rows"]]
    return render(["row", "images/s", "times the reference", "with evaluation"], rows)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    net_options(parser)
    parser.add_argument("--rows", nargs="*", choices=list(OURS), default=list(OURS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=RESULTS / "reference_speed.json")
    options = parser.parse_args(arguments)
    device = resolve_device(options.device)
    if options.threads:
        torch.set_num_threads(options.threads)
    splits = load_images(options.data, options.limit_train)
    shared = recipe_options(options)
    measured = measure(
        splits, shared, rows=options.rows, rounds=options.rounds, workers=options.reference_workers, device=device
    )
    alone = input_speeds(splits, {**shared, "device": str(device)}, rounds=options.rounds, device=device)
    facts = {
        "data": describe(splits, options.describe),
        "shared": shared,
        "reference_workers": options.reference_workers,
    }
    write_results(options.out, {**facts, **measured, "input_images_per_second": alone})
    print(show(measured))


if __name__ == "__main__":
    main()
