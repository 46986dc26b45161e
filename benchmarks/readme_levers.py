"""The README's region about levers of training: what each gives, and what we make of it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.markdown import byte_count, net_phrase

__all__ = ["VERDICTS", "levers", "levers_20"]

VERDICTS: Mapping[str, str] = {
    "teacher": "no gain for keep masks beyond the spread of seeds",
    "sign, teacher": "two points ahead of sign alone",
    "sign from dense": "three points ahead of sign alone, for a dense run before it",
    "sign from dense, teacher": "the best of one bit, for a dense run before it",
    "3 epochs of sign from 3 of dense": "at equal compute a dense start does not pay",
    "ema 0.99": "no effect that shows",
    "ema 0.999": "nothing at the end of a learning rate that falls to 0",
    "mixup 0.2": "no effect that shows",
    "cutmix 1": "too strong here, in longer runs too",
    "rate 3": "no effect that shows",
    "rate 10": "a fifteenth of the file for a point or two: a smaller net comes first",
    "rate 30": "far too much: the masks stop learning",
    "int8 first,last": "no gain beyond the spread, for three fifths more bytes",
    "label smoothing 0.1": "no effect that shows",
    "weight decay 0": "no effect that shows",
    "weight decay 0.05": "no effect that shows",
}
"""Row of `benchmarks.levers` to one sentence; a row without one is there to compare with."""


def levers(results: Mapping[str, Any]) -> str:
    """Every lever's accuracy, and what it adds to the default's on the same seeds."""
    return (
        f"Levers of training, one at a time: {_setting(results)}. Runs of the default that differ in their seed alone"
        " are up to two points apart, so one seed settles nothing under two. Choices are made on the validation images"
        " (`python -m benchmarks.levers`):\n\n" + _table(results, VERDICTS)
    )


def levers_20(results: Mapping[str, Any]) -> str:
    """The same for levers that need time, without verdicts."""
    rows = " ".join(shlex.quote(row["row"]) for row in results["summary"])
    return (
        f"Levers that may need more time, {_setting(results)} (`python -m benchmarks.levers --epochs"
        f" {results['budget']['epochs']} --rows {rows} --out benchmarks/results/levers_20.json`):\n\n"
        + _table(results, None)
        + f"\n\n{_kept(results['summary'])}"
    )


def _kept(summary: Sequence[Mapping[str, Any]]) -> str:
    """Why levers exist that gain nothing in these runs."""
    apart = {row["row"]: f"{row['validation_over_default']:+.1f}" for row in summary}
    return (
        f"None of them gains anything that shows here (`ema` {apart['ema 0.99']}, `mixup` {apart['mixup 0.2']},"
        f" `cutmix` {apart['cutmix 1']} points), and all are off unless asked for. They are kept for what these runs"
        " are not: averages for a learning rate that does not fall to 0, mixing for nets that fit their training"
        " images, which one bit a weight does not in this time."
    )


def _setting(results: Mapping[str, Any]) -> str:
    data, budget = results["data"], results["budget"]
    return (
        f"{data['description'] or data['kind']}, {data['train']:,} training images, {net_phrase(budget)},"
        f" {budget['epochs']} epochs"
    )


def _table(results: Mapping[str, Any], verdicts: Mapping[str, str] | None) -> str:
    header = ["lever", "seeds", "validation %", "over the default, same seeds", "test %", "file"]
    alignment = ["---"] + ["---:"] * 5
    if verdicts is not None:
        header.append("")
        alignment.append("---")
    rows = [header, alignment]
    for row in results["summary"]:
        over = row["validation_over_default"]
        cells = [
            row["row"],
            str(row["seeds"]),
            f"{row['validation_mean']:.1f}",
            "" if over is None else f"{over:+.1f}",
            f"{row['test_mean']:.1f}",
            byte_count(row["file_bytes"]),
        ]
        rows.append(cells if verdicts is None else [*cells, verdicts.get(row["row"], "")])
    return "\n".join("| " + " | ".join(cells) + " |" for cells in rows)
