"""The README's region on models that run from their packed masks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.markdown import byte_count, table, where

__all__ = ["packed_inference"]


def packed_inference(results: Mapping[str, Any]) -> str:
    """Bytes held and time taken, of networks and of one large layer."""
    batches = [each["batch"] for each in results["models"][0]["forward"]]
    rows = [
        (
            model["model"],
            f"{model['masked_weights']:,}",
            *(_held(model[what]) for what in ("weights_bytes", "model_bytes")),
            *(f"{each['packed_over_dense']:.2f}x" for each in model["forward"]),
        )
        for model in results["models"]
    ]
    header = ("network", "masked weights", "masked weights held", "whole model held")
    times = tuple(f"forward pass, batch {batch}, over dense" for batch in batches)
    count = results["environment"]["threads"]
    threads = "one thread" if count == 1 else f"{count} threads"
    return (
        "Bytes that a packed model holds (default masks) and their part of those of the dense float16 model, and the"
        f" time of a forward pass in {results['models'][0]['forward_dtype']} over that of dense weights, in turns"
        f" (`python -m benchmarks.packed_inference`, {where(results)}, {threads}):\n\n{table(header + times, rows)}\n\n"
        f"{_layers(results)}"
    )


def _held(held: Mapping[str, int]) -> str:
    return f"{byte_count(held['packed'])}, 1/{held['dense float16'] / held['packed']:.1f}"


def _layers(results: Mapping[str, Any]) -> str:
    size = max(layer["size"] for layer in results["layers"])
    chosen = [layer for layer in results["layers"] if layer["size"] == size and layer["case"] == "full keep"]
    told = ", ".join(f"{layer['packed_over_dense']:.2f}x for {layer['batch']}" for layer in chosen)
    return f"One linear layer of {size} x {size} takes, by the number of inputs, over dense: {told}."
