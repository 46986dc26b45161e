"""The README's regions on the time that loading takes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.markdown import table, where

__all__ = ["load_in_place", "load_learned", "load_time"]


def load_time(results: Mapping[str, Any]) -> str:
    """Every way in, as its time over that of safetensors in float32."""
    rows = [
        (f"{size['values'] / 1e6:.0f} M", name, *(_times(way, cache) for cache in ("warm", "cold")))
        for size in results["sizes"]
        for name, way in size["ways"].items()
    ]
    header = ("weights", "way in", "file in the page cache", "file on disk")
    return (
        "Time from a file to float32 tensors, in milliseconds and over the time that safetensors float32 takes for the"
        f" same (medians of {results['repeats']} alternating runs; {where(results)}, one thread; `python -m"
        f" benchmarks.load_time --threads 1`). safetensors maps a float32 file, whose pages are read only when they are"
        f" used; new memory takes longer to be had than to be filled:\n\n{table(header, rows)}"
    )


def load_in_place(results: Mapping[str, Any]) -> str:
    """Filling the parameters of a model that exists, with the memory that it takes besides."""
    rows = [
        (
            threads,
            name,
            *(f"{way[cache]['median_ms']:.0f} ({_over(way[cache]):.2f}x)" for cache in ("warm", "cold")),
            f"{way['peak_mib']:.0f} MiB",
        )
        for threads, ways in results["ways_by_threads"].items()
        for name, way in ways.items()
    ]
    header = ("threads", "from", "file in the page cache", "file on disk", "memory besides the model")
    filling = (
        f"Filling the {results['weights'] / 1e6:.0f} M parameters of a model that exists, from random masks, half ones"
        " unless said"
    )
    command = "`python -m benchmarks.load_in_place`"
    if not results["environment"]["compiled_loops"]:
        filling = "The same without the compiled loops"
        command = f"{command} with `PEMN_NATIVE=0` in the environment"
    return (
        f"{filling}, in milliseconds and over safetensors float32 (medians of {results['repeats']} alternating runs;"
        f" {where(results)}; {command}):\n\n{table(header, rows)}"
    )


def _over(way: Mapping[str, Any]) -> float:
    return float(way["time_over"]["safetensors float32"])


def _times(way: Mapping[str, Any], cache: str) -> str:
    return f"{way[cache]['median_ms']:,.0f} ({way['ratio_to_safetensors_float32'][cache]:.2f}x)"


def load_learned(results: Mapping[str, Any]) -> str:
    """What each effort writes of large learned masks, and how fast it is read."""
    rows = [
        (
            f"`--effort {effort}`",
            f"{found['file_bytes']:,}",
            f"{found['bits_per_weight']:.3f}",
            ", ".join(found["codecs"]),
            *(_filled(ways[f"pemn {effort}"]) for ways in results["ways_by_threads"].values()),
        )
        for effort, found in results["efforts"].items()
    ]
    rival = "safetensors float32"
    dense = [ways[rival] for ways in results["ways_by_threads"].values()]
    rows.append((rival, f"{dense[0]['file_bytes']:,}", "", "", *map(_filled, dense)))
    counts = (f"{threads} thread{'s' * (threads != '1')}" for threads in results["ways_by_threads"])
    header = ("from", "bytes", "bits a weight", "mask codecs", *counts)
    trained = results["trained"]
    return (
        f"Masks that were learned, {results['weights'] / 1e6:.0f} M weights (an MLP of {trained['depth']} layers of"
        f" {trained['hidden']:,}, {trained['epochs']} epochs of the digits), the file in the page cache, in"
        f" milliseconds and over safetensors float32 (medians of {results['repeats']} alternating runs;"
        f" {where(results)}; `python -m benchmarks.load_learned`):\n\n{table(header, rows)}"
    )


def _filled(way: Mapping[str, Any]) -> str:
    return f"{way['warm']['median_ms']:,.0f} ({_over(way['warm']):.2f}x)"
