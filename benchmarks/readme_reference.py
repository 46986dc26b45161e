"""The README's regions about the reference's algorithm beside ours."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.markdown import table, where

__all__ = ["reference_baseline", "reference_seconds", "reference_speed"]


def reference_speed(results: Mapping[str, Any]) -> str:
    """Images a second of the reference and of ours."""
    rows = [
        (
            row["row"],
            f"{row['images_per_second']['median']:,.0f}",
            _times(row["times_the_reference"]),
            _times(row["times_the_reference_with_evaluation"]),
        )
        for row in results["rows"]
    ]
    header = ("trained by", "images a second", "over the reference", "with an evaluation an epoch")
    text = (
        f"Images a second in training, {_net(results['shared'])}, epochs in turns, medians of {results['rounds']} and"
        f" their range ({where(results)}, {_threads(results)}; `python -m benchmarks.reference_speed`). The"
        " reference is a plain transcription of its algorithm: PIL images changed in two worker processes, a sort of"
        " every layer's scores in every step:"
    )
    alone = results["input_images_per_second"]
    speeds = ", ".join(f"{name} {speed['median']:,.0f}" for name, speed in alone.items())
    return f"{text}\n\n{table(header, rows)}\n\nInput alone, in one process, images a second: {speeds}."


def reference_baseline(results: Mapping[str, Any]) -> str:
    """Accuracy of the reference's algorithm and of ours, strategy by strategy, and how soon a fixed one is reached."""
    rows = []
    for row in results["summary"]:
        apart, images, wait = (
            row[key] for key in ("test_points_over_reference", "images_to_reach", "idle_seconds_to_reach")
        )
        rows.append(
            (
                f"{row['strategy']}, {row['side']}",
                f"{row['test_accuracy']['mean']:.1f} ± {row['test_accuracy']['sd']:.1f}",
                "" if row["side"] == "reference" else f"{apart['mean']:+.1f} ± {apart['sd']:.1f}",
                f"{row['validation_accuracy_to_reach']:.0f} %",
                "not by every seed" if images is None else f"{images['mean']:,.0f}",
                "" if wait is None else f"{wait:.0f} s",
            )
        )
    data, shared = results["data"], results["shared"]
    header = ("masks, trained by", "test accuracy %", "over the reference", "goal", "images to it", "at idle speed")
    text = (
        f"What both learn in {shared['epochs']} epochs: {data['description'] or data['kind']}, {data['train']:,}"
        f" training images, {_net(shared)}, {_seeds(results)}, the epoch chosen on validation"
        " images (`python -m benchmarks.reference_baseline`). The goal is a validation accuracy that every run reaches;"
        " images are counted to the end of the epoch that reaches it, means over seeds. Seconds are those images over"
        " the images a second of `reference_speed` (masks of RP 1e-3, evaluation left out), because the runs"
        " themselves had to share their machine. ± is the standard deviation over seeds:"
    )
    return f"{text}\n\n{table(header, rows)}\n\n{_unseen(results['summary'])} {_default(results['runs'])}"


def reference_seconds(results: Mapping[str, Any]) -> str:
    """How soon by the clock each side reaches the goal."""
    rows = [
        (
            row["side"],
            _clock(row["seconds_to_reach"]),
            f"{row['images_to_reach']['mean']:,.0f}" if row["images_to_reach"] else "not by every seed",
            f"{row['test_accuracy']['mean']:.1f} ± {row['test_accuracy']['sd']:.1f}",
        )
        for row in results["summary"]
    ]
    goal, strategy = results["summary"][0]["validation_accuracy_to_reach"], results["summary"][0]["strategy"]
    return (
        f"By the clock, one after the other on an idle machine, `{strategy}`, {_seeds(results)}, until {goal:.0f} % of"
        " the validation images are right, which are looked at after every epoch"
        f" ({where(results)}, {_threads(results)}, two workers more for the reference;"
        f" `python -m benchmarks.reference_baseline --strategies {strategy} --out"
        f" benchmarks/results/reference_seconds.json`):\n\n"
        + table(("trained by", "seconds to it", "images to it", "test accuracy % in the end"), rows)
    )


def _clock(spread: Mapping[str, float] | None) -> str:
    return "" if spread is None else f"{spread['mean']:.0f} s ({spread['least']:.0f} to {spread['most']:.0f})"


def _unseen(summary: Sequence[Mapping[str, Any]]) -> str:
    """Which differences between the reference and the preset these runs are too few to show."""
    least = {}
    for row in summary:
        if row["side"] == "paper preset":
            least[row["strategy"]] = 2 * row["test_points_over_reference"]["sd"] / math.sqrt(row["seeds"])
    wide = {strategy: points for strategy, points in least.items() if points >= 1}
    told = ", ".join(f"{points:.1f} with `{strategy}`" for strategy, points in wide.items())
    rest = max((points for strategy, points in least.items() if strategy not in wide), default=0.0)
    others = f"{'elsewhere' if wide else 'everywhere'} at most {rest:.1f}"
    return (
        "Between the reference and the preset, differences below twice the standard error of the mean would not show:"
        f" {', '.join(filter(None, (told, others)))} points. That both take the same steps from the same start is"
        " tested apart from these runs."
    )


def _default(runs: Sequence[Mapping[str, Any]]) -> str:
    """The default over the paper's preset, seed by seed."""
    ours, papers = (
        {run["seed"]: run["test_accuracy"] for run in runs if (run["strategy"], run["side"]) == ("full", side)}
        for side in ("default", "paper preset")
    )
    apart = [ours[seed] - papers[seed] for seed in sorted(ours.keys() & papers.keys())]
    if not apart:
        return ""
    spread = f" ± {statistics.stdev(apart):.1f}" if len(apart) > 1 else ""
    return (
        f"At this length the default is {statistics.mean(apart):+.1f}{spread} points over the paper's preset (`full`)."
    )


def _times(spread: Mapping[str, float]) -> str:
    return f"{spread['median']:.2f}x ({spread['least']:.2f} to {spread['most']:.2f})"


def _net(shared: Mapping[str, Any]) -> str:
    net = " ".join(f"{name} {value}" for name, value in shared["model_args"].items())
    return (
        f"{shared['model']} {net}, batches of {shared['batch_size']}, RandAugment {shared['randaugment_n']}"
        f" {shared['randaugment_m']}, jitter {shared['jitter']}, erasing {shared['erasing']}"
    )


def _seeds(results: Mapping[str, Any]) -> str:
    counts = sorted({row["seeds"] for row in results["summary"]})
    return " to ".join(map(str, counts)) + (" seed" if counts == [1] else " seeds")


def _threads(results: Mapping[str, Any]) -> str:
    count = results["environment"]["threads"]
    return "one thread" if count == 1 else f"{count} threads"
