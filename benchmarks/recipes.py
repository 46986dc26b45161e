"""Which net and which recipe learn most in a file of a given size?

    python -m benchmarks.recipes --data folder:PATH --describe "CIFAR-10 as JPEG files" --budgets 12000
    python -m benchmarks.recipes --data folder:PATH --describe "CIFAR-10 as JPEG files" --budgets 66000 --epochs 3

Each candidate is trained, steered to the budget, exported and loaded as the commands do it; those of one budget share
images and epochs. Candidates are compared on validation images; test images are looked at once a run and choose
nothing. Runs that `--out` holds for the same budget, candidate, seed, images and epochs are not repeated; each names
the code it was measured with.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.budgets import run_budget
from benchmarks.environment import environment
from benchmarks.images import image_options, load_images
from benchmarks.record import RESULTS, held_runs, write_results
from benchmarks.table import render

__all__ = ["CANDIDATES", "main", "winners"]


def _resnet(depth: int, width: int, **options: Any) -> dict[str, Any]:
    return {"model": "resnet", "model_args": {"depth": depth, "width": width}, **options}


def _mixer(dim: int, depth: int, **options: Any) -> dict[str, Any]:
    return {"model": "convmixer", "model_args": {"dim": dim, "depth": depth, "kernel": 5, "patch": 4}, **options}


# Budget -> candidate -> options beside the preset `default`. Widths are about the largest that the budget holds, with
# masks as they code after learning.
CANDIDATES: Mapping[int, Mapping[str, dict[str, Any]]] = {
    12_000: {
        "resnet-14": _resnet(14, 13),
        "resnet-8": _resnet(8, 20),
        "convmixer, depth 3": _mixer(137, 3),
        "resnet-14, rate 0.01": _resnet(14, 13, lr=0.01),
        "resnet-14, rate 0.04": _resnet(14, 13, lr=0.04),
        "resnet-14, ternary": _resnet(14, 10, alphabet="ternary"),
    },
    33_000: {
        "resnet-14": _resnet(14, 23),
        "resnet-8": _resnet(8, 36),
        "convmixer, depth 3": _mixer(261, 3),
    },
    66_000: {
        "resnet-14": _resnet(14, 34),
        "resnet-8": _resnet(8, 54),
        "convmixer, depth 3": _mixer(396, 3),
    },
    170_000: {
        "resnet-14": _resnet(14, 56),
        "resnet-8": _resnet(8, 87),
        "convmixer, depth 3": _mixer(664, 3),
    },
}


def winners(runs: Sequence[Mapping[str, Any]]) -> dict[int, str]:
    """The candidate of each budget with the best mean validation accuracy."""
    best: dict[int, tuple[float, str]] = {}
    for budget, candidate in dict.fromkeys((run["budget"], run["candidate"]) for run in runs):
        found = [run["validation_accuracy"] for run in runs if (run["budget"], run["candidate"]) == (budget, candidate)]
        best[budget] = max(best.get(budget, (0.0, "")), (sum(found) / len(found), candidate))
    return {budget: candidate for budget, (_, candidate) in sorted(best.items())}


def show(runs: Sequence[Mapping[str, Any]]) -> str:
    """The runs as a table; a star marks the winners."""
    chosen = winners(runs)
    header = ["budget", "candidate", "seed", "images", "epochs", "file B", "validation %", "test %", "seconds"]
    rows = [
        [
            run["budget"],
            run["candidate"] + (" *" if chosen[run["budget"]] == run["candidate"] else ""),
            run["seed"],
            run["train"],
            run["epochs"],
            run["file_bytes"],
            run["validation_accuracy"],
            run["test_accuracy"],
            run["training_seconds"],
        ]
        for run in runs
    ]
    return render(header, rows)


def _key(run: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(run[name] for name in ("budget", "candidate", "seed", "train", "epochs"))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    image_options(parser, limit_train=15_000, epochs=6)
    parser.add_argument("--budgets", nargs="+", type=int, choices=list(CANDIDATES), default=list(CANDIDATES))
    parser.add_argument("--only", nargs="+", metavar="CANDIDATE", help="leave the others out")
    parser.add_argument("--out", type=Path, default=RESULTS / "recipes.json")
    given = parser.parse_args(arguments)
    torch.set_num_threads(given.threads)
    splits = load_images(given.data, given.limit_train)
    facts = {"kind": splits.spec.name.partition(":")[0], "description": given.describe, "size": list(splits.spec.size)}
    shared = {"epochs": given.epochs, "batch_size": 128, "threads": given.threads, "device": given.device}
    code = environment()["code"]
    for seed in given.seeds:
        for budget in given.budgets:
            for candidate, options in CANDIDATES[budget].items():
                if given.only and candidate not in given.only:
                    continue
                named = {"candidate": candidate, "train": len(splits.train), "epochs": given.epochs}
                runs = held_runs(given.out, {"data": facts})
                if _key({"budget": budget, "seed": seed, **named}) in map(_key, runs):
                    continue
                with tempfile.TemporaryDirectory() as folder:
                    found = run_budget(budget, seed, {**shared, **options}, splits, Path(folder))
                runs.append({**found, **named, "options": options, "code": code})
                runs.sort(key=lambda run: (run["budget"], run["candidate"], run["seed"]))
                write_results(given.out, {"data": facts, "winners": winners(runs), "runs": runs})
                print(show(runs), flush=True)


if __name__ == "__main__":
    main()
