"""What do the Triton kernels compile to, and how many weights a second could a device issue at most?

    python -m benchmarks.kernel_code [--kernels line products training] [--save]

No device is needed: the launches compile for compute capability 9.0 and what came of it is read. This bounds, it does
not measure: memory, latency and what warps wait for are not in it. For weights, `instructions` are those that a warp
issues for a whole tile; the code has no loops (but one in `shuffled`, counted once), and calls of 64-bit division
count as skipped. For products they are those of one turn of the loop over columns. `integer` is the part of them that
only the integer units take: all that are not multiplications, floats, memory, uniform or control.

Two rates bound the weights: of four instructions a clock and multiprocessor, and of two among them for the integer
units, which are 16 lanes wide for warps of 32 (NVIDIA H100 white paper: 132 multiprocessors with four schedulers and
64 integer lanes each; 1.7 GHz is taken). They stand over what 70 % of the memory's bandwidth would take if it wrote
weights and nothing else (H100 SXM 3.35 TB/s, H200 4.8 TB/s, from the same maker's data sheets); a copy, which reads as
much as it writes, reaches half of that at most. For products: over reading dense weights of the inputs' dtype once. For
training: over 70 % of the bandwidth for the four bytes that are read and the four that are written.
"""

from __future__ import annotations

import argparse
import itertools
import re
from collections import Counter
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

import numpy as np
import torch

from benchmarks.compiled_kernels import Code, compiling_for
from benchmarks.record import RESULTS, write_results
from benchmarks.table import render

DTYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16, "float32": torch.float32}
DEVICE = {"capability": 90, "multiprocessors": 132, "clock_hz": 1.7e9, "issued_a_clock": 4, "integer_a_clock": 2}
BYTES_A_SECOND = {"H100 SXM": 3.35e12, "H200": 4.8e12}
SHARE = 0.7

# Of a multiprocessor of capability 9.0 (CUDA programming guide, "Technical Specifications per Compute Capability").
_REGISTERS, _SHARED, _WARPS, _PROGRAMS, _RESERVED = 65536, 228 << 10, 64, 32, 1 << 10
_KERNELS = ["line", "products", "training"]
_NOT_INTEGER = (
    *("IMAD", "FMUL", "FADD", "FFMA", "HMMA", "HGMMA", "MUFU", "I2F", "F2I", "F2F"),
    *("LDG", "STG", "LDS", "STS", "LDSM", "STSM", "LDGSTS", "LDGDEPBAR", "DEPBAR", "SHFL", "LDC", "WARPSYNC"),
    *("BAR", "BRA", "EXIT", "NOP", "S2R", "S2UR", "CS2R", "BSSY", "BSYNC", "BREAK", "CALL", "WARPGROUP", "SYNCS"),
)
_INSTRUCTION = re.compile(r"/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\w+\s+)?([A-Z][A-Z0-9_.]*)([^;]*)")
_LABEL = re.compile(r"^(\.L_x_\d+):")


def instructions(code: Code, *, loop: bool) -> list[str]:
    """The instructions up to the end of the program; with `loop`, those of its longest loop."""
    found: list[str] = []
    labels: dict[str, int] = {}
    loops: list[list[str]] = []
    for line in code.assembly().splitlines():
        if label := _LABEL.match(line.strip()):
            labels[label[1]] = len(found)
        if not (match := _INSTRUCTION.search(line)):
            continue
        name, operands = match[1].split(".")[0], match[2]
        found.append(name)
        target = re.search(r"\.L_x_\d+", operands)
        if name == "BRA" and target and target[0] in labels:
            loops.append(found[labels[target[0]] :])
        if name == "EXIT" and "@" not in line:
            break
    return max(loops, key=len) if loop else found


def facts(code: Code, weights: int, target: float, *, loop: bool = False) -> dict[str, Any]:
    """What a kernel takes and the rates that bound it; `weights` of the counted part, `target` in weights a byte."""
    names = Counter(instructions(code, loop=loop))
    total = sum(names.values())
    integer = sum(count for name, count in names.items() if name not in _NOT_INTEGER and not name.startswith("U"))
    registers, local = code.resources()
    threads = 32 * code.warps
    programs = min(
        _REGISTERS // (-(-registers * 32 // 256) * 256 * code.warps),
        _SHARED // (code.shared + _RESERVED),
        _WARPS // code.warps,
        _PROGRAMS,
    )
    clocks = DEVICE["multiprocessors"] * DEVICE["clock_hz"]
    issue = clocks * DEVICE["issued_a_clock"] * weights / (total * code.warps)
    units = clocks * DEVICE["integer_a_clock"] * weights / (integer * code.warps)
    return {
        "registers": registers,
        "local_bytes": local,
        "shared_bytes": code.shared,
        "occupancy": programs * code.warps / _WARPS,
        "weights_a_thread": weights / threads,
        "instructions": total,
        "integer": integer,
        "instructions_per_weight": total * code.warps / weights,
        "bound_weights_per_second": {"issue": issue, "integer": units},
        "bound_over_target": {
            name: {"issue": issue / (rate * target), "integer": units / (rate * target)}
            for name, rate in BYTES_A_SECOND.items()
        },
    }


def of_weights(source: str, alphabet: str, channels: str, dtype: str) -> dict[str, Any]:
    """Facts of the kernel that makes weights of a mask."""
    from pemn_compress.kernels.line import FIELDS
    from pemn_compress.kernels.reconstruct import launcher

    rows = np.zeros((1, len(FIELDS)), np.int64)
    rows[0, FIELDS.index("numel")] = 1
    with compiling_for(int(DEVICE["capability"])) as found:
        launcher(rows, (source, alphabet, channels), dtype, torch.device("cpu"))()
    return facts(found[0], found[0].constants["TILE"], SHARE / DTYPES[dtype].itemsize)


def of_product(source: str, keep: bool, flip: bool, batch: int, dtype: str) -> dict[str, Any]:
    """Facts of the kernel that multiplies by a packed weight."""
    from pemn_compress.kernels.packed import multiply

    outputs, columns = 64, 1024
    rows = torch.zeros((batch, columns), dtype=DTYPES[dtype])
    words = torch.zeros(outputs * columns // 8, dtype=torch.uint8)
    kept, flipped, values = (words if held else None for held in (keep, flip, source == "bits"))
    with compiling_for(int(DEVICE["capability"])) as found:
        multiply(rows, kept, flipped, values, torch.ones(1), None, outputs, source, 7, 0, columns)
    tile = found[0].constants["OUTS"] * found[0].constants["PART"]
    return facts(found[0], tile, 1 / DTYPES[dtype].itemsize, loop=True)


def of_training(distribution: str, alphabet: str) -> dict[str, Any]:
    """Facts of the kernel that makes weights of scores, or gradients of gradients (alphabet `none`)."""
    from pemn_compress.kernels.training import Seeded, masked_weight, score_gradient

    values, given = Seeded(distribution, 7, 0, 0.1), torch.zeros(1024)
    with compiling_for(int(DEVICE["capability"])) as found:
        score_gradient(given, values) if alphabet == "none" else masked_weight(given, values, alphabet, 0.1)
    return facts(found[0], found[0].constants["TILE"], SHARE / 8)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description="What do the Triton kernels compile to?")
    parser.add_argument("--kernels", nargs="+", choices=_KERNELS, default=_KERNELS)
    parser.add_argument("--sources", nargs="+", default=["signed", "bits", "normal", "uniform", "plain", "tiled"])
    parser.add_argument("--save", action="store_true", help="write benchmarks/results/kernel_code.json")
    options = parser.parse_args(arguments)
    found: dict[str, dict[str, Any]] = {}
    if "line" in options.kernels:
        for source, alphabet, dtype in itertools.product(options.sources, ("keep", "sign", "ternary"), DTYPES):
            found[f"line {source} {alphabet} {dtype}"] = of_weights(source, alphabet, "one", dtype)
        for alphabet, dtype in itertools.product(("keep", "sign", "ternary"), DTYPES):
            found[f"line signed {alphabet} channel {dtype}"] = of_weights("signed", alphabet, "wide", dtype)
    if "products" in options.kernels:
        kinds = {"signed keep": ("signed", True, False), "sign": ("ones", False, True), "ternary": ("ones", True, True)}
        for (name, kind), batch, dtype in itertools.product(kinds.items(), (1, 16, 64), DTYPES):
            found[f"product {name} batch {batch} {dtype}"] = of_product(*kind, batch, dtype)
    if "training" in options.kernels:
        for distribution, alphabet in itertools.product(("signed", "normal"), ("keep", "sign", "ternary", "none")):
            found[f"training {distribution} {alphabet}"] = of_training(distribution, alphabet)
    rows = []
    for name, each in found.items():
        over = [each["bound_over_target"][device][kind] for device in BYTES_A_SECOND for kind in ("issue", "integer")]
        held = [each["registers"], each["local_bytes"], each["shared_bytes"], f"{each['occupancy']:.0%}"]
        rows.append([name, *held, each["instructions"], each["integer"], each["instructions_per_weight"], *over])
    columns = ["registers", "spilled", "shared", "occupancy", "instructions", "integer", "per weight"]
    bounds = [f"{device} {kind}" for device in BYTES_A_SECOND for kind in ("issue", "integer")]
    print("Bounds computed from the code, over the target; not a measurement")
    print(render(["kernel", *columns, *bounds], rows))
    if options.save:
        shared = {"triton": version("triton"), "device": DEVICE, "bytes_a_second": BYTES_A_SECOND, "share": SHARE}
        print(write_results(RESULTS / "kernel_code.json", {**shared, "kernels": found}))


if __name__ == "__main__":
    main()
