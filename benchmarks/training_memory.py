"""How much memory does training take at most, with masks beside the dense net, in values per masked weight?

    python -m benchmarks.training_memory [--device cuda] [--nets NET...] [--batches 8 64]

Each case trains in a process of its own: the model, AdamW, two steps to settle, then the peak over more. On the CPU
torch's profiler counts every tensor that is made and given back; on a GPU it is torch.cuda.max_memory_allocated. The
figure is the difference from the dense net's peak over 4 bytes and the number of masked weights: scores lie in the
dense weights' place, so what comes on top is the value under each mask and the weight that is computed.
"""

from __future__ import annotations

import argparse
import gc
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from benchmarks.record import RESULTS, write_results
from benchmarks.table import render
from benchmarks.training_cases import CASES, NETS, build_case, training_step, weight_of

__all__ = ["main", "peak_bytes"]


def peak_bytes(net: str, case: str, batch: int, device: torch.device) -> int:
    """Return the most bytes that tensors hold at once while a net trains."""
    model = build_case(net, case, device)
    step = training_step(model, batch, device)
    step()
    step()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        for _ in range(3):
            step()
        return torch.cuda.max_memory_allocated(device)
    model.zero_grad(set_to_none=True)  # so that a step gives back only what it has made itself
    gc.collect()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        step()
    held = peak = 0
    for event in profile.profiler.kineto_results.events():  # type: ignore[union-attr]
        if event.name() == "[memory]":
            held += event.nbytes()
            peak = max(peak, held)
    return peak + _standing_bytes(model)


def _standing_bytes(model: nn.Module) -> int:
    """Return what lies there before a step begins: parameters, two moments of each that trains, and buffers."""
    storages = {}
    for tensor in (*model.parameters(), *model.buffers()):
        storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
    moments = sum(2 * 4 * parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    return sum(storages.values()) + moments


def measure(net: str, batch: int, device: str) -> dict[str, Any]:
    """Return the figures of one net and batch size, each case from a process of its own."""
    masked = sum(score.numel() for score, _ in weight_of(build_case(net, "threshold keep")))
    peaks = {case: _in_process(net, case, batch, device) for case in CASES}
    return {
        "net": net,
        "batch": batch,
        "masked_weights": masked,
        "cases": {
            case: {"peak_bytes": peak, "values_per_weight": round((peak - peaks["dense"]) / (4 * masked), 3)}
            for case, peak in peaks.items()
        },
    }


def _in_process(net: str, case: str, batch: int, device: str) -> int:
    command = [sys.executable, "-m", "benchmarks.training_memory", "--one", net, case, str(batch), "--device", device]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return int(json.loads(done.stdout.splitlines()[-1]))


def show(found: Sequence[Mapping[str, Any]]) -> str:
    """The values per weight as a table."""
    rows = [
        [
            f"{each['net']}, {each['batch']}",
            f"{each['cases']['dense']['peak_bytes'] / 2**20:.1f}",
            *(f"{each['cases'][case]['values_per_weight']:.2f}" for case in CASES if case != "dense"),
        ]
        for each in found
    ]
    return render(["net, batch", "dense MiB", *(case for case in CASES if case != "dense")], rows)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nets", nargs="+", choices=list(NETS), default=list(NETS))
    parser.add_argument("--batches", nargs="+", type=int, default=[8, 64])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, default=RESULTS / "training_memory.json")
    parser.add_argument("--one", nargs=3, metavar=("NET", "CASE", "BATCH"), help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    if options.one:
        net, case, batch = options.one
        print(json.dumps(peak_bytes(net, case, int(batch), torch.device(options.device))))
        return
    found = []
    for net in options.nets:
        for batch in options.batches:
            found.append(measure(net, batch, options.device))
            write_results(options.out, {"device": torch.device(options.device).type, "measured": found})
    print(show(found))


if __name__ == "__main__":
    main()
