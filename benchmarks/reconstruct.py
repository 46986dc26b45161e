"""How fast are weights born on the device, beside the device's own copy?

    python -m benchmarks.reconstruct [--device cuda] [--weights 100000000] [--repeats 30] [--save]

One masked tensor is rebuilt from its packed bits in every output dtype. `kernel` is the launch alone, with masks and
tables on the device; `whole` is what a loader calls, from numpy arrays to the finished tensor, copies included (on the
CPU it writes over a tensor that exists); `torch` is the path that serves devices without Triton; `numpy` (on the CPU)
is the reference. `copy` copies a tensor of the
same bytes; rates count bytes written, for copies too. Results are compared byte for byte before they are timed. The
source of values: `full` generates them, `rp` repeats 251, `rp rand` permutes them, `stored` reads float32 values.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.record import RESULTS, write_results
from benchmarks.table import render
from benchmarks.timing import seconds_of
from pemn_compress import PemnError, rebuild
from pemn_compress.filling import fill_weights_
from pemn_compress.kernels import usable
from pemn_formats import reconstruct as reference
from pemn_formats.bits import pack
from pemn_formats.content import Content, MaskedTensor, Prototype
from pemn_formats.values import unit_values

DTYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16, "float32": torch.float32}
_SCALE = np.float32(0.037)


def cases(weights: int) -> dict[str, Content]:
    """Return a content of one tensor for each source of values and alphabet that is compared."""
    rng = np.random.default_rng(0)
    shape = (-(-weights // 4096), 4096)
    numel = shape[0] * shape[1]
    plane = rng.integers(0, 256, -(-numel // 8), dtype=np.uint8)
    kept = int(np.unpackbits(plane).sum())
    signs = pack(rng.integers(0, 2, kept))

    def held(prototype: Prototype, alphabet: str = "keep", span: int = 0) -> Content:
        ternary = alphabet == "ternary"
        planes = (plane, signs) if ternary else (plane,)
        tensor = MaskedTensor("w", shape, 0, span, alphabet, _SCALE, kept if ternary else None, planes=planes)
        return Content(7, (prototype,), (tensor,))

    return {
        "full signed keep": held(Prototype(numel, "signed")),
        "full signed sign": held(Prototype(numel, "signed"), "sign"),
        "full signed ternary": held(Prototype(numel, "signed"), "ternary"),
        "full uniform keep": held(Prototype(numel, "uniform")),
        "full normal keep": held(Prototype(numel, "normal")),
        "rp signed keep": held(Prototype(251, "signed")),
        "rp normal keep": held(Prototype(251, "normal")),
        "rp rand signed keep": held(Prototype(251, "signed"), span=numel),
        "stored normal keep": held(Prototype(numel, "float32", unit_values("normal", 7, 0, 0, numel))),
    }


def ways(content: Content, device: torch.device, name: str) -> dict[str, Callable[[int], Any]]:
    """Every way to make the tensor: name -> function of the call's number."""
    tensor, dtype = content.masked[0], DTYPES[name]
    out: dict[str, Callable[[int], Any]] = {}
    if usable(device):
        from pemn_compress.kernels.reconstruct import prepared, reconstruct_many

        weights, run = prepared(content, content.masked, device, dtype)

        def kernel(_: int) -> torch.Tensor:
            run()
            return weights[0]

        out["kernel"] = kernel
        out["whole"] = lambda _: reconstruct_many(content, [tensor], device, dtype)[0]
    out["torch"] = lambda _: rebuild.with_torch(content, tensor, device, dtype)
    if device.type == "cpu":
        target = torch.empty(tensor.shape, dtype=dtype)

        def whole(_: int) -> torch.Tensor:
            fill_weights_(content, [(tensor, target)])
            return target

        out["whole"] = whole
        out["numpy"] = lambda _: reference.reconstruct(content, tensor, name)
    return out


def bytes_of(weights: Any) -> bytes:
    """The bytes of a tensor or an array."""
    if isinstance(weights, torch.Tensor):
        return bytes(weights.cpu().contiguous().view(torch.uint8).numpy())
    return bytes(weights.tobytes())


def measure(content: Content, device: torch.device, name: str, repeats: int) -> dict[str, Any]:
    """Compare every way with numpy, time it, and time a copy of as many bytes."""
    tensor, dtype = content.masked[0], DTYPES[name]
    expected = reference.reconstruct(content, tensor, name).tobytes()
    seconds = {}
    for way, work in ways(content, device, name).items():
        if bytes_of(work(0)) != expected:
            raise PemnError(f"{way} gives other bytes than numpy for {name}")
        seconds[way] = seconds_of(
            work, device, repeats=repeats if way in ("kernel", "whole") else max(3, repeats // 10)
        )
    source = torch.empty(tensor.numel, dtype=dtype, device=device).normal_()
    target = torch.empty_like(source)
    seconds["copy"] = seconds_of(lambda _: target.copy_(source), device, repeats=repeats)
    return {"bytes": len(expected), "seconds": seconds}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description="How fast are weights born on the device, beside its own copy?")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--weights", type=int, default=None, help="default: 100 M on a GPU, 4 M on a CPU")
    parser.add_argument("--repeats", type=int, default=30)
    parser.add_argument("--dtypes", nargs="+", choices=list(DTYPES), default=list(DTYPES))
    parser.add_argument("--save", action="store_true", help="write benchmarks/results/reconstruct_DEVICE.json")
    parser.add_argument("--out", type=Path, help="write the JSON there instead")
    options = parser.parse_args(arguments)
    device = torch.device(options.device)
    weights = options.weights or (100_000_000 if device.type == "cuda" else 1 << 22)
    found: dict[str, dict[str, Any]] = {}
    rows: list[list[object]] = []
    for case, content in cases(weights).items():
        found[case] = {}
        for name in options.dtypes:
            result = found[case][name] = measure(content, device, name, options.repeats)
            rates = {way: result["bytes"] / spread["median"] / 1e9 for way, spread in result["seconds"].items()}
            best = rates.get("kernel", rates["whole"])
            shown = [rates.get(way) for way in ("kernel", "whole", "torch", "numpy", "copy")]
            rows.append([f"{case} {name}", *shown, f"{best / rates['copy']:.0%}"])
    print(f"{weights:,} weights on {torch.cuda.get_device_name(device) if device.type == 'cuda' else 'the CPU'}")
    print(render(["GB/s written", "kernel", "whole", "torch", "numpy", "copy", "of copy"], rows))
    if options.save or options.out:
        path = options.out or RESULTS / f"reconstruct_{device.type}.json"
        print(write_results(path, {"weights": weights, "device": str(device), "cases": found}))


if __name__ == "__main__":
    main()
