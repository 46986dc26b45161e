"""The README's region about levers of training: what each gives, and what we make of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.markdown import byte_count, net_phrase

__all__ = ["VERDICTS", "levers"]

VERDICTS: Mapping[str, str] = {
    "teacher": "no gain for keep masks beyond the spread of seeds",
    "sign, teacher": "ahead of sign alone, about the spread",
    "sign from dense": "ahead of sign alone, about the spread, for a dense run before it",
    "sign from dense, teacher": "the best of one bit, for a dense run before it",
    "3 epochs of sign from 3 of dense": "at equal compute a dense start does not pay",
    "ema 0.999": "nothing at the end of a learning rate that falls to 0",
    "mixup 0.2": "nothing in so short a run",
    "cutmix 1": "too strong for so short a run",
    "rate 10": "a tenth of the file for a point or two: a smaller net comes first",
    "rate 30": "far too much: the masks stop learning",
    "int8 first,last": "no gain beyond the spread, for half as many bytes again",
    "label smoothing 0.1": "nothing in so short a run",
    "weight decay 0": "no effect that shows",
    "weight decay 0.05": "no effect that shows",
}
"""Row of `benchmarks.levers` to one sentence; a row without one is there to compare with."""


def levers(results: Mapping[str, Any]) -> str:
    """Every lever's accuracy, and what it adds to the default's on the same seeds."""
    data, budget = results["data"], results["budget"]
    lines = [
        "| lever | seeds | validation % | over the default, same seeds | test % | file | |",
        "| --- |" + " ---: |" * 5 + " --- |",
    ]
    for row in results["summary"]:
        over = row["validation_over_default"]
        cells = (
            row["row"],
            str(row["seeds"]),
            f"{row['validation_mean']:.1f}",
            "" if over is None else f"{over:+.1f}",
            f"{row['test_mean']:.1f}",
            byte_count(row["file_bytes"]),
            VERDICTS.get(row["row"], ""),
        )
        lines.append("| " + " | ".join(cells) + " |")
    net = net_phrase(budget)
    return (
        f"Levers of training, one at a time: {data['description'] or data['kind']}, {data['train']:,} training images,"
        f" {net}, {budget['epochs']} epochs. Runs of the default are up to two points apart, so one seed settles"
        " nothing under two. Choices are made on the validation images (`python -m benchmarks.levers`):\n\n"
        + "\n".join(lines)
    )
