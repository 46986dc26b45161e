"""How much smaller is a `.pemn` file than the dense checkpoints of the same net, every byte counted?

    python -m benchmarks.storage_ratio [--nets convmixer-256/8 resnet-20] [--quick]

Dense files are written by torch.save and safetensors in float32 and float16, plain and through zstd-19; `.pemn` files
for every strategy, with the seed or with the vector of values inside. Sizes are those of files on disk. The paper's
count (float prototype and one bit a weight, nothing else) stands beside ours.

Two choices keep the comparison honest. Dense weights are Gaussian stand-ins, because trained ones do not exist for most
of these nets; masks are random with half of the bits set, which no coder can shrink. And a stored vector holds the
paper's normal values: our own signed ones would shrink to a bit each.
"""

from __future__ import annotations

import argparse
import dataclasses
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from benchmarks.dense_files import LEVEL, dense_files
from benchmarks.nets import NETS, stand_in_
from benchmarks.record import RESULTS, write_results
from benchmarks.table import render
from pemn_compress import MaskConfig, PemnError, load_file, mask_
from pemn_compress.masking import masked_weights
from pemn_compress.saving import to_content
from pemn_compress.strategies import TensorInfo, plan
from pemn_formats.content import Content, Prototype
from pemn_formats.ledger import Ledger
from pemn_formats.values import unit_values
from pemn_formats.writer import write

RATIOS = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5)
# How everything that is not masked is written: name -> options of `to_content`.
RESIDUALS: Mapping[str, Mapping[str, Any]] = {
    "float16": {},
    "log8": {"residual_dtype": "log8"},
    "lossless": {"lossless": True},
}
_LEDGER = ("header", "prototypes", "masks", "residual", "bits_per_weight", "over_shannon", "paper_bytes", "paper_ratio")


def strategies() -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield every strategy as (label, options of `MaskConfig`)."""
    for strategy in ("full", "one-layer", "mp"):
        yield strategy, {"strategy": strategy}
    for ratio in RATIOS:
        for mode in ("copy", "rand"):
            label = f"rp 1e-{RATIOS.index(ratio) + 1} {mode}"
            yield label, {"strategy": "rp", "ratio": ratio, "mode": mode}


def with_strategy(content: Content, tensors: Sequence[TensorInfo], config: MaskConfig) -> Content:
    """Return the content of the same masks over the values of another strategy.

    It is what masking the net anew and saving it would give, without the minutes that this takes for the largest net.
    """
    planned = plan(tensors, config)
    prototypes = tuple(
        Prototype(each.length, config.distribution)
        if config.store == "seed"
        else Prototype(each.length, "float32", unit_values(config.distribution, config.seed, at, 0, each.length))
        for at, each in enumerate(planned.prototypes)
    )
    masked = tuple(
        dataclasses.replace(tensor, prototype=fill.prototype, span=fill.span, scale=fill.scale)
        for tensor, fill in zip(content.masked, planned.fills, strict=True)
    )
    return dataclasses.replace(
        content, prototypes=prototypes, masked=masked, extra={**content.extra, "strategy": config.strategy}
    )


def measure(net: str, folder: Path, *, level: int | None = LEVEL) -> dict[str, Any]:
    """Return the size of every file of one net; files are written to `folder` and removed."""
    model = stand_in_(NETS[net]())
    state = model.state_dict()
    dense = dense_files(state, folder, level=level)
    values = sum(value.numel() for value in state.values())
    mask_(model, MaskConfig())
    tensors = [weight.tensor for _, weight, _ in masked_weights(model)]
    rows: list[dict[str, Any]] = []
    for residual, how in RESIDUALS.items():
        content = to_content(model, **how)
        for label, options in strategies():
            if residual != "float16" and label != "rp 1e-3 copy":
                continue
            for store, distribution in (("seed", "signed"), ("vector", "normal")):
                config = MaskConfig(**options, store=store, distribution=distribution)
                path = folder / "net.pemn"
                ledger = write(path, with_strategy(content, tensors, config), force=True)
                size = path.stat().st_size
                if not rows:
                    _check_it_loads(path, model)
                row = {"strategy": label, "store": store, "distribution": distribution, "residual_dtype": residual}
                rows.append({**row, "bytes": size, **_parts(ledger), "ratio": _ratios(dense, size)})
                path.unlink()
    masked = sum(tensor.numel for tensor in tensors)
    return {"net": net, "values": values, "masked_weights": masked, "dense_bytes": dense, "files": rows}


def _check_it_loads(path: Path, model: nn.Module) -> None:
    """A size counts only if the file gives the weights back."""
    loaded = load_file(path)
    for name, weight, score in masked_weights(model):
        if not torch.equal(loaded[name], weight(score)):
            raise PemnError(f"{name} comes back from the file with other values")


def _parts(ledger: Ledger) -> dict[str, Any]:
    parts = ledger.to_dict()
    return {f"{name}_bytes" if name in _LEDGER[:4] else name: parts[name] for name in _LEDGER}


def _ratios(dense: Mapping[str, int], size: int) -> dict[str, float]:
    return {name: round(found / size, 2) for name, found in dense.items()}


def show(result: Mapping[str, Any]) -> str:
    """One net's sizes as two tables."""
    dense = result["dense_bytes"]
    against = [name for name in ("torch.save float32", f"safetensors float32 zstd-{LEVEL}") if name in dense]
    against += [name for name in ("safetensors float16", f"safetensors float16 zstd-{LEVEL}") if name in dense]
    header = ["strategy", "store", "residual", "file B", "header", "vector", "masks", "residual B"]
    rows = [
        [
            row["strategy"],
            row["store"],
            row["residual_dtype"],
            row["bytes"],
            *(row[f"{part}_bytes"] for part in _LEDGER[:4]),
            *(row["ratio"][name] for name in against),
            row["paper_bytes"],
            row["paper_ratio"],
        ]
        for row in result["files"]
    ]
    lines = [f"{result['net']}: {result['values']:,} values, {result['masked_weights']:,} masked", ""]
    lines += [render(("dense file", "bytes"), list(dense.items())), ""]
    lines += [f"({at}) {name} over the file" for at, name in enumerate(against, 1)]
    columns = [f"({at})" for at in range(1, len(against) + 1)]
    return "\n".join([*lines, render([*header, *columns, "paper B", "paper x"], rows), ""])


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nets", nargs="+", choices=list(NETS), default=list(NETS))
    parser.add_argument("--quick", action="store_true", help="leave out zstd of the dense files, and the ViT")
    parser.add_argument("--out", type=Path, default=RESULTS / "storage_ratio.json")
    options = parser.parse_args(arguments)
    nets = [net for net in options.nets if not (options.quick and net == "vit_b_16")]
    results = []
    for net in nets:
        began = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder, torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            results.append(measure(net, Path(folder), level=None if options.quick else LEVEL))
        results[-1]["seconds"] = round(time.perf_counter() - began, 1)
        print(show(results[-1]), flush=True)
        write_results(options.out, {"weights": "Gaussian stand-ins", "masks": "random, half set", "nets": results})


if __name__ == "__main__":
    main()
