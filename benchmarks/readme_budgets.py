"""The README's regions about files of a given size: what budgets were filled with, which nets learn most in them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.markdown import byte_count, table, where

__all__ = ["budgets", "budgets_digits", "recipes", "recipes_in_full"]


def budgets(results: Mapping[str, Any]) -> str:
    """What every budget was filled with."""
    recipe, data = results["recipe"], results["data"]
    rows = [
        (
            byte_count(run["budget"]),
            f"{recipe['model']}, " + ", ".join(f"{name} {value}" for name, value in sorted(run["model_args"].items())),
            f"{run['masked_weights']:,}",
            byte_count(run["file_bytes"]),
            f"{100 * run['used']:.2f} %",
            f"{run['test_accuracy']:.1f}",
        )
        for run in results["runs"]
    ]
    header = ("budget", "net that was planned", "masked weights", "file", "used", "test accuracy %")
    epochs = f"{recipe['epochs']} epoch{'s' * (recipe['epochs'] > 1)}"
    images = f"{data['train']:,} images of {data['description'] or data['kind']}"
    return (
        f"Files of runs with a budget, after {epochs} on {images}:"
        " long enough for the size, too short for the accuracy"
        f" (`python -m benchmarks.budgets`, {where(results)}):\n\n{table(header, rows)}"
    )


def budgets_digits(results: Mapping[str, Any]) -> str:
    """What the budgets of fully trained nets for the digits were filled with."""
    rows = []
    for budget in dict.fromkeys(run["budget"] for run in results["runs"]):
        runs = [run for run in results["runs"] if run["budget"] == budget]
        widths = sorted({run["model_args"]["hidden"] for run in runs})
        used = [100 * run["used"] for run in runs]
        rows.append(
            (
                byte_count(budget),
                f"{runs[0]['model']}, depth {runs[0]['model_args']['depth']}, hidden {' or '.join(map(str, widths))}",
                f"{min(used):.1f} to {max(used):.1f} %",
                f"{sum(run['validation_accuracy'] for run in runs) / len(runs):.1f}",
                f"{sum(run['test_accuracy'] for run in runs) / len(runs):.1f}",
            )
        )
    header = ("budget", "net", "used", "validation %", "test %")
    seeds, epochs = len({run["seed"] for run in results["runs"]}), results["runs"][0]["epochs"]
    budgets = " ".join(dict.fromkeys(str(run["budget"]) for run in results["runs"]))
    return (
        f"The digits, trained in full ({epochs} epochs, {seeds} seeds; `python -m benchmarks.budgets --data digits"
        f" --preset digits --limit-train 0 --limit-held-out 0 --budgets {budgets} --seeds 0 1 --out"
        f" benchmarks/results/budgets_digits.json`, {where(results)}):\n\n{table(header, rows)}"
    )


def recipes(results: Mapping[str, Any]) -> str:
    """Every candidate of every size, the chosen one in bold; means where several seeds ran."""
    runs, chosen_of = results["runs"], results["winners"]
    rows = []
    for budget, candidate in dict.fromkeys((run["budget"], run["candidate"]) for run in runs):
        same = [run for run in runs if (run["budget"], run["candidate"]) == (budget, candidate)]
        net = ", ".join(f"{name} {value}" for name, value in sorted(same[0]["model_args"].items()))
        rows.append(
            (
                byte_count(budget),
                f"**{candidate}**" if chosen_of[str(budget)] == candidate else candidate,
                net,
                f"{same[0]['train']:,} x {same[0]['epochs']}",
                str(len(same)),
                byte_count(max(run["file_bytes"] for run in same)),
                f"{sum(run['validation_accuracy'] for run in same) / len(same):.1f}",
                f"{sum(run['test_accuracy'] for run in same) / len(same):.1f}",
            )
        )
    header = ("size", "candidate", "net", "images x epochs", "seeds", "largest file", "validation %", "test %")
    data = results["data"]
    tried = {budget: {run["candidate"] for run in runs if str(run["budget"]) == budget} for budget in chosen_of}
    alone = [byte_count(int(budget)) for budget, names in tried.items() if len(names) == 1]
    remark = f" Of {' and '.join(alone)} one candidate ran: its net was not chosen among others." if alone else ""
    return (
        f"Nets for a file of a given size, {data['description'] or data['kind']}; the validation images choose (bold)"
        f" among candidates that ran, after short runs (`python -m benchmarks.recipes`, {where(results)}):\n\n"
        f"{table(header, rows)}\n\nSeeds of one candidate differ by up to two points, so read smaller differences as"
        f" ties.{remark}"
    )


def recipes_in_full(results: Mapping[str, Any]) -> str:
    """What presets reach over their own number of epochs on all images, one sentence each."""
    sentences = [
        f"Over {run['epochs']} epochs on {run['train']:,} images the net for {byte_count(run['budget'])} reaches"
        f" {run['validation_accuracy']:.1f} % on the images held out, which chose the epoch, and"
        f" {run['test_accuracy']:.1f} % on the test images, in a file of {byte_count(run['file_bytes'])}."
        for run in results["runs"]
    ]
    sizes = " ".join(str(run["budget"]) for run in results["runs"])
    return (
        f"{' '.join(sentences)} One seed each (`python -m benchmarks.recipes --data folder:PATH --budgets {sizes}"
        " --only resnet-14 --limit-train 0 --epochs 30 --out benchmarks/results/recipes_in_full.json`,"
        f" {where(results)})."
    )
