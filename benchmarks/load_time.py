"""How long from a file to a model on the device: `.pemn` beside the dense formats?

    python -m benchmarks.load_time [--device cuda] [--repeats 9]

A ConvMixer of about 1, 10 and 90 million weights, masked with random bits, is written as `.pemn` (strategy full, the
most to regenerate, and rp with 251 values), as safetensors and by torch.save. Every way in gives the state dict on the
device, every tensor in float32; for the float16 file that includes the conversion. The ways "into a model" write over
the parameters of a model that exists already, and are compared with each other: new memory costs more than filling it.
Ways are timed one after the other, again and again, so that a slow moment of the machine hits all of them; what is
compared is proven equal first.

`warm`: the file lies in the page cache, as reading it from end to end leaves it. (What mapping a cold file brings in,
page by page, is slower to map again, which would make safetensors look worse.)
`cold`: the kernel was asked to forget it (POSIX_FADV_DONTNEED, after fsync),
so bytes come from the disk again, or from a cache below that the kernel does not see.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import nn

from benchmarks.nets import stand_in_
from benchmarks.record import RESULTS, write_results
from benchmarks.table import render
from pemn_compress import MaskConfig, PemnError, load_file, load_model, mask_, merge_, save_model
from pemn_compress.models import build

State = dict[str, torch.Tensor]

SIZES: Mapping[str, Mapping[str, int]] = {
    "1M": {"dim": 360, "depth": 7},
    "10M": {"dim": 1152, "depth": 7},
    "90M": {"dim": 3520, "depth": 7},
}
_INTO = "into a model: "
_STRATEGIES: Mapping[str, Mapping[str, Any]] = {"full": {"strategy": "full"}, "rp 251": {"strategy": "rp"}}


def write_files(args: Mapping[str, int], folder: Path) -> dict[str, Path]:
    """Write one net in every format; the dense files hold the weights of `full`. Return the path of each."""
    paths: dict[str, Path] = {}
    for name, options in _STRATEGIES.items():
        model = stand_in_(build("convmixer", **args))
        mask_(model, MaskConfig(**options))
        paths[f"pemn {name}"] = folder / f"{name}.pemn"
        save_model(model, paths[f"pemn {name}"], lossless=True)
        if name == "full":
            _write_dense(merge_(model), folder, paths)
    for path in paths.values():
        with path.open("rb") as file:
            os.fsync(file.fileno())
    return paths


def _write_dense(model: nn.Module, folder: Path, paths: dict[str, Path]) -> None:
    state = {name: value.detach() for name, value in model.state_dict().items()}
    narrow = {name: value.half() if value.is_floating_point() else value for name, value in state.items()}
    for name, values in (("float32", state), ("float16", narrow)):
        paths[f"safetensors {name}"] = folder / f"{name}.safetensors"
        safetensors.torch.save_file(values, paths[f"safetensors {name}"])
    paths["torch.load float32"] = folder / "float32.pt"
    torch.save(state, paths["torch.load float32"])


def ways(paths: Mapping[str, Path], device: torch.device) -> dict[str, tuple[Path, Callable[[], State]]]:
    """Every way to get the state dict on the device in float32: name -> (file, function)."""
    at = str(device)

    def widened(path: Path) -> State:
        found = safetensors.torch.load_file(path, device=at)
        return {name: value.float() if value.is_floating_point() else value for name, value in found.items()}

    def model_state(path: Path) -> State:
        return load_model(path, device=device).state_dict()

    full = paths["pemn full"]
    out: dict[str, tuple[Path, Callable[[], State]]] = {
        f"load_file {name}": (paths[f"pemn {name}"], lambda path=paths[f"pemn {name}"]: load_file(path, device=device))  # type: ignore[misc]
        for name in _STRATEGIES
    }
    dense32, dense16, pickled = (
        paths[name] for name in ("safetensors float32", "safetensors float16", "torch.load float32")
    )
    out["load_model full"] = (full, lambda: model_state(full))
    out["safetensors float32"] = (dense32, lambda: safetensors.torch.load_file(dense32, device=at))
    out["safetensors float16"] = (dense16, lambda: widened(dense16))
    out["torch.load float32"] = (pickled, lambda: torch.load(pickled, map_location=device, weights_only=True))
    return out | _into(full, dense32, pickled, load_model(full, device=device))


def _into(full: Path, dense: Path, pickled: Path, target: nn.Module) -> dict[str, tuple[Path, Callable[[], State]]]:
    """Every way to write over the parameters of a model that is there already."""
    device = next(target.parameters()).device

    def ours() -> State:
        return load_model(full, into=target, device=device).state_dict()

    def theirs() -> State:
        safetensors.torch.load_model(target, dense, device=str(device))
        return target.state_dict()

    def torchs() -> State:
        target.load_state_dict(torch.load(pickled, map_location=device, weights_only=True))
        return target.state_dict()

    return {
        f"{_INTO}load_model full": (full, ours),
        f"{_INTO}safetensors float32": (dense, theirs),
        f"{_INTO}torch.load float32": (pickled, torchs),
    }


def check_equal(states: Mapping[str, State]) -> None:
    """The ways that claim the same weights must give them; float16 must be those rounded."""
    reference = states["safetensors float32"]
    for name in ("load_file full", "load_model full", "torch.load float32", "safetensors float16"):
        for key, value in reference.items():
            narrow = name == "safetensors float16" and value.is_floating_point()
            if not torch.equal(states[name][key], value.half().float() if narrow else value):
                raise PemnError(f"{name} gives other values for {key}")


def forget(path: Path) -> None:
    """Ask the kernel to drop a file from the page cache."""
    with path.open("rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def remember(path: Path) -> None:
    """Have the kernel keep a file in the page cache as one reading from end to end leaves it."""
    forget(path)
    with path.open("rb") as file:
        while file.read(1 << 24):
            pass


def timed(load: Callable[[], State], device: torch.device) -> float:
    """Seconds until every tensor is on the device, each of them touched.

    safetensors maps its file on the CPU: without a sum over the values, no byte would have been read.
    """
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    began = time.perf_counter()
    state = load()
    for value in state.values():
        value.sum()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - began


def measure(size: str, device: torch.device, *, repeats: int, folder: Path) -> dict[str, Any]:
    """Time every way, warm and cold, for one size."""
    paths = write_files(SIZES[size], folder)
    found = ways(paths, device)
    states = {name: load() for name, (_, load) in found.items()}
    check_equal(states)
    weights = sum(value.numel() for value in states["safetensors float32"].values())
    del states
    times: dict[str, dict[str, list[float]]] = {name: {"warm": [], "cold": []} for name in found}
    for _ in range(repeats):
        for name, (path, load) in found.items():
            forget(path)
            times[name]["cold"].append(timed(load, device))
            remember(path)
            times[name]["warm"].append(timed(load, device))
    rows = {name: {"bytes": path.stat().st_size, **_statistics(times[name])} for name, (path, _) in found.items()}
    for name, row in rows.items():
        rival = f"{_INTO}safetensors float32" if name.startswith(_INTO) else "safetensors float32"
        row["ratio_to_safetensors_float32"] = {
            cache: round(row[cache]["median_ms"] / rows[rival][cache]["median_ms"], 2) for cache in ("warm", "cold")
        }
    return {"size": size, "net": {"model": "convmixer", **SIZES[size]}, "values": weights, "ways": rows}


def _statistics(times: Mapping[str, Sequence[float]]) -> dict[str, Any]:
    out = {}
    for cache, seconds in times.items():
        quarter = statistics.quantiles(seconds, n=4) if len(seconds) > 1 else [seconds[0]] * 3
        out[cache] = {
            "median_ms": round(1e3 * statistics.median(seconds), 3),
            "min_ms": round(1e3 * min(seconds), 3),
            "quartiles_ms": [round(1e3 * quarter[0], 3), round(1e3 * quarter[2], 3)],
        }
    return out


def show(result: Mapping[str, Any]) -> str:
    """One size's times as a table; milliseconds, ratios to safetensors in float32."""
    rows = [
        [
            name,
            row["bytes"],
            *(row["warm"][key] for key in ("median_ms", "min_ms")),
            row["ratio_to_safetensors_float32"]["warm"],
            *(row["cold"][key] for key in ("median_ms", "min_ms")),
            row["ratio_to_safetensors_float32"]["cold"],
        ]
        for name, row in result["ways"].items()
    ]
    header = ("way", "bytes", "warm ms", "min", "x", "cold ms", "min", "x")
    return f"{result['size']}: {result['values']:,} values\n\n{render(header, rows)}\n"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--sizes", nargs="+", choices=list(SIZES), default=list(SIZES))
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--out", type=Path, default=RESULTS / "load_time.json")
    options = parser.parse_args(arguments)
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    results = []
    for size in options.sizes:
        with tempfile.TemporaryDirectory() as folder:
            results.append(measure(size, torch.device(options.device), repeats=options.repeats, folder=Path(folder)))
        print(show(results[-1]), flush=True)
        facts = {"device": options.device, "repeats": options.repeats, "dtype": "float32"}
        write_results(options.out, {**facts, "sizes": results})


if __name__ == "__main__":
    main()
