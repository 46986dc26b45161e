"""From which sizes is a layer that runs from its packed mask faster, and what memory does it hold?

    python -m benchmarks.packed_inference [--device cuda] [--sizes 1024 4096] [--batches 1 16] [--repeats 50] [--save]

A square linear layer of each size multiplies batches in float16 (float32 on the CPU): `dense` is torch's own with dense
weights, `packed` the layer that `load_model(..., packed=True)` puts in its place. On a device the weights of several
layers are used in turn, so that they come from memory and not from its cache, and products are replayed from a CUDA
graph, which leaves Python out; what a call from Python takes stands beside it. Bytes are those of the weights held, for
`packed` everything but the bias. `error` is the packed product's distance from the product with float32 weights in
float64, relative, beside the dense layer's own.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks.record import RESULTS, write_results
from benchmarks.table import render
from benchmarks.timing import Spread, seconds_in_graph, seconds_of
from pemn_compress import PemnError
from pemn_compress.packed_layers import PackedLinear
from pemn_compress.packed_weight import pack_weight
from pemn_formats.content import Content, MaskedTensor, Prototype

SIZES = (1024, 2048, 4096, 8192)
BATCHES = (1, 2, 4, 16, 64, 256)
CASES = {
    "full keep": ("keep", 0),
    "full sign": ("sign", 0),
    "rp 251 keep": ("keep", 251),
    "full ternary": ("ternary", 0),
}
_CACHE = 256 << 20  # more than any cache of a device holds
_TOLERANCE = {torch.float16: 2e-3, torch.float32: 1e-5}


def packed_layer(size: int, case: str, seed: int) -> PackedLinear:
    """A packed square layer with a random mask."""
    alphabet, length = CASES[case]
    rng = np.random.default_rng(seed)
    plane = rng.integers(0, 256, size * size // 8, dtype=np.uint8)
    kept = int(np.unpackbits(plane).sum()) if alphabet == "ternary" else None
    planes: tuple[np.ndarray[Any, np.dtype[np.uint8]], ...] = (plane,)
    if kept is not None:
        planes = (plane, np.packbits(rng.integers(0, 2, kept), bitorder="little"))
    scale = np.float32((2.0 / size) ** 0.5)
    tensor = MaskedTensor("w", (size, size), 0, 0, alphabet, scale, kept, planes=planes)
    content = Content(seed, (Prototype(length or size * size, "signed"),), (tensor,))
    return PackedLinear(pack_weight(content, tensor), None)


def timed(layers: Sequence[nn.Module], rows: torch.Tensor, device: torch.device, repeats: int) -> dict[str, Spread]:
    """Time one layer's product: called from Python, and on CUDA replayed from a graph."""

    def work(number: int) -> torch.Tensor:
        out: torch.Tensor = layers[number % len(layers)](rows)
        return out

    called = seconds_of(work, device, repeats=repeats)
    if device.type != "cuda":
        return {"called": called}
    return {"called": called, "graph": seconds_in_graph(work, device, calls=len(layers), repeats=repeats)}


@torch.no_grad()
def measure(size: int, case: str, device: torch.device, batches: Sequence[int], repeats: int) -> list[dict[str, Any]]:
    """Check and time one size for every batch."""
    dtype = torch.float16 if device.type == "cuda" else torch.float32
    copies = max(2, min(32, _CACHE // (2 * size * size))) if device.type == "cuda" else 1
    packed = [packed_layer(size, case, seed).to(device) for seed in range(copies)]
    dense = []
    for layer in packed:
        plain = nn.Linear(size, size, bias=False, device=device, dtype=dtype)
        plain.weight.copy_(layer.weight)
        dense.append(plain)
    held = sum(buffer.nbytes for buffer in packed[0].buffers())
    results = []
    for batch in batches:
        rows = torch.randn(batch, size, device=device, dtype=dtype)
        exact = rows.double() @ packed[0].weight.double().T
        errors = {
            name: float((layer(rows).double() - exact).norm() / exact.norm())
            for name, layer in (("dense", dense[0]), ("packed", packed[0]))
        }
        if not errors["packed"] < _TOLERANCE[dtype]:
            raise PemnError(f"{case} {size} x {batch}: relative error {errors['packed']:.1e} is beyond rounding")
        seconds = {
            name: timed(layers, rows, device, repeats) for name, layers in (("dense", dense), ("packed", packed))
        }
        bytes_held = {"packed": held, "dense float16": 2 * size * size}
        results.append(
            {"case": case, "size": size, "batch": batch, "seconds": seconds, "errors": errors, "bytes": bytes_held}
        )
    return results


def main(arguments: Sequence[str] | None = None) -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description="From which sizes is a packed layer faster, and what does it hold?")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--sizes", nargs="+", type=int, default=list(SIZES), help="multiples of 128")
    parser.add_argument("--batches", nargs="+", type=int, default=list(BATCHES))
    parser.add_argument("--cases", nargs="+", choices=list(CASES), default=list(CASES))
    parser.add_argument("--repeats", type=int, default=50)
    parser.add_argument("--save", action="store_true", help="write benchmarks/results/packed_inference.json")
    options = parser.parse_args(arguments)
    device = torch.device(options.device)
    found = [
        result
        for case in options.cases
        for size in options.sizes
        for result in measure(size, case, device, options.batches, options.repeats)
    ]
    rows: list[list[object]] = []
    for result in found:
        way = "graph" if device.type == "cuda" else "called"
        dense, packed = (result["seconds"][name][way]["median"] for name in ("dense", "packed"))
        held = result["bytes"]
        called = result["seconds"]["packed"]["called"]["median"]
        times = [dense * 1e6, packed * 1e6, called * 1e6, f"{dense / packed:.2f}x"]
        errors = [f"{result['errors'][name]:.1e}" for name in ("dense", "packed")]
        size = f"1/{held['dense float16'] / held['packed']:.1f}"
        rows.append([f"{result['case']} {result['size']}", result["batch"], *times, size, *errors])
    print(f"{'float16' if device.type == 'cuda' else 'float32'} on ", end="")
    print(torch.cuda.get_device_name(device) if device.type == "cuda" else "the CPU, one layer expanded at a time")
    header = [
        "layer",
        "batch",
        "dense us",
        "packed us",
        "from Python us",
        "speed",
        "of float16's bytes",
        "dense error",
        "packed error",
    ]
    print(render(header, rows))
    if options.save:
        print(write_results(RESULTS / "packed_inference.json", {"device": str(device), "results": found}))


if __name__ == "__main__":
    main()
