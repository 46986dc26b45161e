"""From which sizes is a layer that runs from its packed mask faster, and what memory does it hold? Whole networks too.

    python -m benchmarks.packed_inference [--device cuda] [--sizes 1024 4096] [--batches 1 16] [--models resnet-20]
                                          [--repeats 50] [--save]

A square linear layer of each size multiplies batches in float16 (float32 on the CPU): `dense` is torch's own with dense
weights, `packed` the layer that `load_model(..., packed=True)` puts in its place. On a device the weights of several
layers are used in turn, so that they come from memory and not from its cache, and products are replayed from a CUDA
graph, which leaves Python out; what a call from Python takes stands beside it. On the CPU both take turns. Bytes are
those of the weights held, for `packed` everything but the bias. `error` is the packed product's distance from the
product with float32 weights in float64, relative, beside the dense layer's own.

Networks (`packed_models`) hold stand-ins for trained masks, keep over the default values. `weights` are the masked ones
alone, `whole` all parameters and buffers, both against float16; a forward pass is timed in turns with the dense one.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks.packed_models import MODELS, measure_model
from benchmarks.record import RESULTS, write_results
from benchmarks.table import render
from benchmarks.timing import Spread, seconds_in_graph, seconds_in_turns, seconds_of
from pemn_compress import PemnError
from pemn_compress.packed_layers import PackedLinear
from pemn_compress.packed_weight import pack_weight
from pemn_formats.content import Content, MaskedTensor, Prototype

SIZES = {"cuda": (1024, 2048, 4096, 8192), "cpu": (1024, 4096)}
BATCHES = {"cuda": (1, 2, 4, 16, 64, 256), "cpu": (1, 16, 256)}
MODEL_BATCHES = (1, 16)
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


def timed(
    dense: Sequence[nn.Module], packed: Sequence[nn.Module], rows: torch.Tensor, device: torch.device, repeats: int
) -> tuple[dict[str, dict[str, Spread]], float]:
    """Time one layer's product both ways, and say how long the packed one takes over the dense one.

    `called` is from Python, `graph` on CUDA replayed from a graph.
    """
    if device.type != "cuda":
        works = {"dense": lambda: dense[0](rows), "packed": lambda: packed[0](rows)}
        seconds, ratios = seconds_in_turns(works, device, repeats=repeats, enough=5.0)
        return {name: {"called": spread} for name, spread in seconds.items()}, ratios["packed"]
    found = {}
    for name, layers in (("dense", dense), ("packed", packed)):

        def work(number: int, layers: Sequence[nn.Module] = layers) -> object:
            return layers[number % len(layers)](rows)

        found[name] = {
            "called": seconds_of(work, device, repeats=repeats),
            "graph": seconds_in_graph(work, device, calls=len(layers), repeats=repeats),
        }
    return found, found["packed"]["graph"]["median"] / found["dense"]["graph"]["median"]


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
        seconds, ratio = timed(dense, packed, rows, device, repeats)
        bytes_held = {"packed": held, "dense float16": 2 * size * size}
        found = {"case": case, "size": size, "batch": batch, "seconds": seconds, "packed_over_dense": ratio}
        results.append(found | {"errors": errors, "bytes": bytes_held})
    return results


def show_layers(found: Sequence[dict[str, Any]]) -> str:
    """The table of single layers."""
    rows: list[list[object]] = []
    for result in found:
        seconds, held = result["seconds"], result["bytes"]
        way = "graph" if "graph" in seconds["dense"] else "called"
        times = [
            seconds[name][how]["median"] * 1e6 for name, how in (("dense", way), ("packed", way), ("packed", "called"))
        ]
        size = f"1/{held['dense float16'] / held['packed']:.1f}"
        errors = [f"{result['errors'][name]:.1e}" for name in ("dense", "packed")]
        speed = f"{1 / result['packed_over_dense']:.2f}x"
        rows.append([f"{result['case']} {result['size']}", result["batch"], *times, speed, size, *errors])
    header = ["layer", "batch", "dense us", "packed us", "from Python us", "speed", "of float16's bytes"]
    return render([*header, "dense error", "packed error"], rows)


def show_models(found: Sequence[dict[str, Any]]) -> str:
    """The table of whole networks."""
    rows: list[list[object]] = []
    for result in found:
        sizes = [result[what]["dense float16"] / result[what]["packed"] for what in ("weights_bytes", "model_bytes")]
        for each in result["forward"]:
            times = [each["seconds"][way]["median"] * 1e3 for way in ("dense", "packed")]
            shown = [*(f"1/{size:.1f}" for size in sizes), each["batch"], *times, f"{each['packed_over_dense']:.2f}"]
            rows.append([result["model"], result["masked_weights"], *shown])
    header = ["network", "masked weights", "weights", "whole", "batch", "dense ms", "packed ms", "packed / dense"]
    return render(header, rows)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--sizes", nargs="*", type=int, help="of layers: multiples of 128; none for no layers")
    parser.add_argument("--batches", nargs="+", type=int)
    parser.add_argument("--cases", nargs="+", choices=list(CASES), default=list(CASES))
    parser.add_argument("--models", nargs="*", choices=list(MODELS), default=list(MODELS), help="none for no networks")
    parser.add_argument("--repeats", type=int, default=50)
    parser.add_argument("--save", action="store_true", help="write benchmarks/results/packed_inference_DEVICE.json")
    parser.add_argument("--out", type=Path, help="write the JSON there instead")
    options = parser.parse_args(arguments)
    device = torch.device(options.device)
    kind = "cuda" if device.type == "cuda" else "cpu"
    layers = [
        result
        for case in options.cases
        for size in (SIZES[kind] if options.sizes is None else options.sizes)
        for result in measure(size, case, device, options.batches or BATCHES[kind], options.repeats)
    ]
    print(f"{'float16' if device.type == 'cuda' else 'float32'} on ", end="")
    print(torch.cuda.get_device_name(device) if device.type == "cuda" else "the CPU, one weight expanded at a time")
    print(show_layers(layers))
    models = [measure_model(name, device, options.batches or MODEL_BATCHES, options.repeats) for name in options.models]
    print(show_models(models))
    if options.save or options.out:
        path = options.out or RESULTS / f"packed_inference_{device.type}.json"
        print(write_results(path, {"device": str(device), "layers": layers, "models": models}))


if __name__ == "__main__":
    main()
