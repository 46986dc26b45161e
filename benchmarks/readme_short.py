"""The README's region about short runs of the paper's strategies, our default and a dense net."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.markdown import byte_count, net_phrase, table

__all__ = ["short_training"]

_OURS, _PAPERS = "rp 1e-3", "paper rp 1e-3"


def short_training(results: Mapping[str, Any]) -> str:
    """Accuracy of the paper's strategies, our default and a dense net under one short budget."""
    rows = [
        (
            row["row"],
            f"{row['test_accuracy_mean']:.1f} ({row['test_accuracy_min']:.1f} to {row['test_accuracy_max']:.1f})",
            "" if row["after_float16_mean"] is None else f"{row['after_float16_mean']:.1f}",
            "" if row["after_lossless_mean"] is None else f"{row['after_lossless_mean']:.1f}",
            byte_count(row["file_bytes"]),
            f"{row['ratio']:.1f}x",
        )
        for row in results["summary"]
    ]
    data, budget = results["data"], results["budget"]
    net, fewest = net_phrase(budget), min(row["seeds"] for row in results["summary"])
    more = [f"{row['seeds']} of `{row['row']}`" for row in results["summary"] if row["seeds"] > fewest]
    seeds = ", ".join((f"{fewest} seeds", *more))
    header = ("masks", "test accuracy %, trained", "from the file", "from a lossless file", "file", "smaller by")
    return (
        f"A short run on real images: {data['description'] or data['kind']}, {data['train']:,} training images, {net},"
        f" {budget['epochs']} epochs, {seeds}, on a CPU. Trust the order, not the"
        f" distance to longer runs (`python -m benchmarks.short_training`):\n\n{table(header, rows)}\n\n"
        f"{_at_equal_bytes(results)} {_three_values(results['runs'])}"
    )


def _at_equal_bytes(results: Mapping[str, Any]) -> str:
    """The default beside the paper's recipe with values of their own for each tensor, as it has them."""
    ours, papers = (next(row for row in results["summary"] if row["row"] == name) for name in ("default", "paper full"))
    apart = ours["test_accuracy_mean"] - papers["test_accuracy_mean"]
    more = ours["file_bytes"] - papers["file_bytes"]
    found = {(run["row"], run["seed"]): run["test_accuracy"] for run in results["runs"]}
    each = [found["default", seed] - found["paper full", seed] for row, seed in found if row == "paper full"]
    return (
        f"The default and `paper full` differ by {abs(more)} of {byte_count(ours['file_bytes'])} in size and by"
        f" {apart:+.1f} points in accuracy ({min(each):+.1f} to {max(each):+.1f} with one seed); their difference in a"
        " shorter run stands under the table of the reference's algorithm."
    )


def _three_values(runs: Sequence[Mapping[str, Any]]) -> str:
    """Why our values are worse than the paper's where there are three of them."""
    ours, papers = (
        {run["seed"]: run["test_accuracy"] for run in runs if run["row"] == name} for name in (_OURS, _PAPERS)
    )
    told = " and ".join(f"{ours[seed]:.1f} against {papers[seed]:.1f} with seed {seed}" for seed in sorted(ours))
    return (
        f"`{_OURS}` is the default's learner over a vector of three values, a thousandth of the 2,304 of the largest"
        " layer: three signs, which agree for one seed in four. They do with seed 1, and then no weight of the net can"
        f" be negative: {told} for `{_PAPERS}`, whose three values differ in size as well. Vectors of 251 values cost"
        " no more, since a file holds their seed."
    )
