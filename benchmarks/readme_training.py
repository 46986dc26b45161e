"""The README's regions about learners: what they give, and what they cost a training step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.markdown import byte_count, net_phrase, table, where

__all__ = ["learners", "mask_cost", "training_memory"]


def learners(results: Mapping[str, Any]) -> str:
    """Accuracy of each learner beside the default's, on the same seeds."""
    rows = [
        (
            row["row"],
            f"{row['validation_mean']:.1f}",
            f"{row['validation_over_default']:+.1f}",
            f"{row['test_mean']:.1f}",
            "" if row["density"] is None else f"{row['density']:.2f}",
            byte_count(row["file_bytes"]),
        )
        for row in results["summary"]
    ]
    data, budget = results["data"], results["budget"]
    net = net_phrase(budget)
    header = ("learner", "validation %", "over the default", "test %", "density", "file")
    return (
        f"One change to the default a row: {data['description'] or data['kind']}, {data['train']:,} training images,"
        f" {net}, {budget['epochs']} epochs, {results['summary'][0]['seeds']} seeds; choices are made on the validation"
        f" images (`python -m benchmarks.learners`):\n\n{table(header, rows)}"
    )


def mask_cost(results: Mapping[str, Any]) -> str:
    """A step with masks over the dense step."""
    cases = [case for case in results["measured"][0]["cases"] if case != "dense"]
    rows = [
        (
            f"{each['net']}, batch {each['batch']}",
            f"{each['cases']['dense']['step_ms']['median']:,.1f}",
            *(f"{each['cases'][case]['over_dense']['median']:.2f}" for case in cases),
        )
        for each in results["measured"]
    ]
    return (
        "A training step with masks over the step of the dense net, forward, backward and AdamW, medians of"
        f" {results['repeats']} turns ({where(results)}, one thread; `python -m benchmarks.mask_cost`):\n\n"
        f"{table(('net', 'dense step, ms', *cases), rows)}"
    )


def training_memory(results: Mapping[str, Any]) -> str:
    """What masks take in training beyond the dense net."""
    cases = [case for case in results["measured"][0]["cases"] if case != "dense"]
    rows = [
        (
            f"{each['net']}, batch {each['batch']}",
            f"{each['cases']['dense']['peak_bytes'] / 2**20:,.1f}",
            *(f"{each['cases'][case]['values_per_weight']:.2f}" for case in cases),
        )
        for each in results["measured"]
    ]
    return (
        "Peak memory of training beyond the dense net's, in float32 values a masked weight"
        f" ({where(results)}; `python -m benchmarks.training_memory`):\n\n"
        f"{table(('net', 'dense, MiB', *cases), rows)}"
    )
