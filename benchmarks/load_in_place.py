"""How long until a model that exists already has its weights, on one thread and on two?

    python -m benchmarks.load_in_place [--repeats 15] [--threads 1 2]

Ten linear layers of 3000 x 3000, 90 million weights, are filled on the CPU from `.pemn` files with random masks of half
ones (`full`: each layer its own seeded values, the most to regenerate; `rp`: 251 values; `sign`: masks that choose the
sign of seeded values; `full` with fewer ones: masks that `zstd` and `gap` code) and from dense files. All write over
float32 parameters in place; no new memory is touched, so that what is timed is reading, checking and filling. Ways take
turns, warm and cold, and a ratio is the median of the ratios within a turn. Peak memory is what the process holds at
most beyond what it held before, mapped pages of the file included.

`warm`: the file lies in the page cache, as reading it from end to end leaves it. (What mapping a cold file brings in,
page by page, is slower to map again, which would make safetensors look worse.)
`cold`: the kernel was asked to forget it (POSIX_FADV_DONTNEED).
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from torch import nn

from benchmarks.load_time import forget, remember
from benchmarks.record import RESULTS, write_results
from benchmarks.table import render
from pemn_compress import PemnError, load_model
from pemn_formats.bits import pack
from pemn_formats.content import Content, MaskedTensor, Prototype
from pemn_formats.writer import write

LAYERS = 10
RIVALS = ("safetensors float32", "torch.load float32")
Way = tuple[Path, Callable[[], object]]


KINDS: Mapping[str, float] = {"full": 0.5, "rp": 0.5, "sign": 0.5, "full, density 0.3": 0.3, "full, density 0.1": 0.1}


def content(kind: str, side: int) -> Content:
    """The content of ten masked layers of one kind."""
    generator = np.random.default_rng(0)
    one_vector = kind == "rp"
    masked = tuple(
        MaskedTensor(
            f"{index}.weight",
            (side, side),
            0 if one_vector else index,
            0,
            "sign" if kind == "sign" else "keep",
            np.float32(0.02),
            planes=(pack(generator.random(side * side, dtype=np.float32) < KINDS[kind]),),
        )
        for index in range(LAYERS)
    )
    lengths = (251,) if one_vector else (side * side,) * LAYERS
    return Content(5, tuple(Prototype(length, "signed") for length in lengths), masked)


def ways(model: nn.Module, side: int, folder: Path) -> dict[str, Way]:
    """Write the files; return every way to fill the model, as (file, function)."""
    out: dict[str, Way] = {}
    for kind in KINDS:
        path = folder / f"{kind}.pemn"
        write(path, content(kind, side), threads=torch.get_num_threads())
        out[f"pemn {kind}"] = (path, lambda path=path: load_model(path, into=model))  # type: ignore[misc]
    load_model(folder / "full.pemn", into=model)
    out |= dense_ways(model, folder)
    _check(model, out)
    return out


def dense_ways(model: nn.Module, folder: Path) -> dict[str, Way]:
    """Write the dense files of a model; return the ways to fill it from them."""
    out: dict[str, Way] = {}
    for dtype in (torch.float32, torch.float16):
        name = f"safetensors {str(dtype).removeprefix('torch.')}"
        dense = folder / f"{name}.safetensors"
        safetensors.torch.save_file({key: value.to(dtype) for key, value in model.state_dict().items()}, dense)
        out[name] = (dense, lambda dense=dense: model.load_state_dict(safetensors.torch.load_file(dense)))  # type: ignore[misc]
    pickled = folder / "float32.pt"
    torch.save(model.state_dict(), pickled)
    out["torch.load float32"] = (pickled, lambda: model.load_state_dict(torch.load(pickled, weights_only=True)))
    return out


def _check(model: nn.Module, found: Mapping[str, Way]) -> None:
    """The dense files must hold the weights of `full`."""
    found["pemn full"][1]()
    expected = {name: value.clone() for name, value in model.state_dict().items()}
    for way in RIVALS:
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.zero_()
        found[way][1]()
        for name, value in model.state_dict().items():
            if not torch.equal(value, expected[name]):
                raise PemnError(f"{way} gives other values for {name}")


def measure(found: Mapping[str, Way], threads: int, repeats: int) -> dict[str, Any]:
    """Time every way in turn and return its figures."""
    torch.set_num_threads(threads)
    times: dict[str, dict[str, list[float]]] = {name: {"warm": [], "cold": []} for name in found}
    for _ in range(repeats):
        for name, (path, fill) in found.items():
            forget(path)
            times[name]["cold"].append(_seconds(fill))
            remember(path)
            times[name]["warm"].append(_seconds(fill))
    return {
        name: {
            "file_bytes": path.stat().st_size,
            "peak_mib": _peak_mib(fill),
            **{cache: _figures(times, name, cache) for cache in ("warm", "cold")},
        }
        for name, (path, fill) in found.items()
    }


def _seconds(fill: Callable[[], object]) -> float:
    began = time.perf_counter()
    fill()
    return time.perf_counter() - began


def _figures(times: Mapping[str, Mapping[str, Sequence[float]]], name: str, cache: str) -> dict[str, Any]:
    own = times[name][cache]
    low, _, high = statistics.quantiles(own, n=4) if len(own) > 1 else [own[0]] * 3
    over = {
        rival: round(statistics.median(a / b for a, b in zip(own, times[rival][cache], strict=True)), 2)
        for rival in RIVALS
    }
    return {
        "median_ms": round(1e3 * statistics.median(own), 1),
        "min_ms": round(1e3 * min(own), 1),
        "quartiles_ms": [round(1e3 * low, 1), round(1e3 * high, 1)],
        "time_over": over,
    }


def _peak_mib(fill: Callable[[], object]) -> float | None:
    reset = Path("/proc/self/clear_refs")
    if not reset.exists():
        return None
    gc.collect()
    # What the allocator kept of earlier turns would hide what this one takes.
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
    reset.write_text("5")
    before = _status("VmRSS")
    fill()
    return round((_status("VmHWM") - before) / 1024, 1)


def _status(key: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{key}:"))


def show(results: Mapping[str, Any], threads: int) -> str:
    """One number of threads as a table."""
    rows = [
        [name, way["file_bytes"], way["peak_mib"]]
        + [
            value
            for cache in ("warm", "cold")
            for value in (way[cache]["median_ms"], *way[cache]["time_over"].values())
        ]
        for name, way in results.items()
    ]
    header = (
        "way",
        "bytes",
        "peak MiB",
        *(f"{cache} {what}" for cache in ("warm", "cold") for what in ("ms", "/st", "/pt")),
    )
    return f"{threads} thread{'s' * (threads > 1)}\n\n{render(header, rows)}\n"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--side", type=int, default=3000, help="inputs and outputs of a layer")
    parser.add_argument("--out", type=Path, default=RESULTS / "load_in_place.json")
    options = parser.parse_args(arguments)
    with torch.device("meta"):
        model: nn.Module = nn.Sequential(*(nn.Linear(options.side, options.side, bias=False) for _ in range(LAYERS)))
    model.to_empty(device="cpu")
    by_threads = {}
    with tempfile.TemporaryDirectory() as folder:
        found = ways(model, options.side, Path(folder))
        for threads in options.threads:
            by_threads[str(threads)] = measure(found, threads, options.repeats)
            print(show(by_threads[str(threads)], threads), flush=True)
    facts = {"weights": LAYERS * options.side**2, "dtype": "float32", "device": "cpu", "repeats": options.repeats}
    write_results(options.out, {**facts, "ways_by_threads": by_threads})


if __name__ == "__main__":
    main()
