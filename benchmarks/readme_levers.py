"""The README's region about levers of training: what each gives, and what we make of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.markdown import byte_count

__all__ = ["VERDICTS", "levers"]

VERDICTS: Mapping[str, str] = {
    "teacher": "no gain for keep masks beyond the spread of seeds",
    "sign, teacher": "ahead of sign alone, within the spread",
    "sign from dense": "ahead of sign alone, within the spread, for a dense run before it",
    "sign from dense, teacher": "the best of sign, for a dense run before it",
    "ema 0.99": "three points ahead in mid-run, none at the end of a learning rate that falls to 0",
    "rate 3": "too low a price to shorten so short a run's file",
    "rate 10": "fewer bytes, at a price: a smaller net comes first",
    "int8 first,last": "no gain beyond the spread of seeds, for half as many bytes again",
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
    net = " ".join([budget["model"], *(f"{name} {value}" for name, value in budget["model_args"].items())])
    return (
        f"Levers of training, one at a time: {data['description'] or data['kind']}, {data['train']:,} training images,"
        f" {net}, {budget['epochs']} epochs. Two seeds of the default are two points apart, so one seed settles"
        " nothing under two; mixing is not measured at this size yet. Choices are made on the"
        " validation images (`python -m benchmarks.levers`):\n\n" + "\n".join(lines)
    )
