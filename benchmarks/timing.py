"""Time of a function on a device: warm, repeated, as median and spread."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping

import torch

__all__ = ["Spread", "seconds_in_graph", "seconds_in_turns", "seconds_of"]

Spread = dict[str, float]


def seconds_of(work: Callable[[int], object], device: torch.device, *, repeats: int) -> Spread:
    """Return median, least and most seconds of `work(number)`, called with 0, 1, 2, ... after three warm-up calls.

    On CUDA device events time each call, so that what is measured is the device and what it waits for.
    """
    for number in range(3):
        work(number)
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        marks = [(_mark(), _mark()) for _ in range(repeats)]
        for number, (began, ended) in enumerate(marks):
            began.record()
            work(number)
            ended.record()
        torch.cuda.synchronize(device)
        taken = [began.elapsed_time(ended) / 1000 for began, ended in marks]
    else:
        taken = []
        for number in range(repeats):
            start = time.perf_counter()
            work(number)
            taken.append(time.perf_counter() - start)
    return {"median": statistics.median(taken), "least": min(taken), "most": max(taken)}


def seconds_in_turns(
    works: Mapping[str, Callable[[], object]], device: torch.device, *, repeats: int, enough: float = 20.0
) -> tuple[dict[str, Spread], dict[str, float]]:
    """Return the seconds of each work, called in turns after a warm-up, and over the first one's, by name.

    A ratio is the median of those within a turn, which what else the machine does moves least. There are `repeats`
    turns, fewer where they take over `enough` seconds, three at least.
    """
    for work in works.values():
        _one(work, device)
    taken: dict[str, list[float]] = {name: [] for name in works}
    began = time.perf_counter()
    for turn in range(repeats):
        if turn >= 3 and time.perf_counter() - began > enough:
            break
        for name, work in works.items():
            taken[name].append(_one(work, device))
    first = next(iter(taken.values()))
    ratios = {
        name: statistics.median(mine / other for mine, other in zip(each, first, strict=True))
        for name, each in taken.items()
    }
    return {
        name: {"median": statistics.median(each), "least": min(each), "most": max(each)} for name, each in taken.items()
    }, ratios


def _one(work: Callable[[], object], device: torch.device) -> float:
    start = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start


def seconds_in_graph(work: Callable[[int], object], device: torch.device, *, calls: int, repeats: int) -> Spread:
    """Return seconds of one of `calls` calls replayed from a CUDA graph: what the device takes, Python left out."""
    with torch.cuda.device(device):
        aside = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            for number in range(calls):
                work(number)
        torch.cuda.current_stream().wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            for number in range(calls):
                work(number)
        whole = seconds_of(lambda _: graph.replay(), device, repeats=repeats)
    return {name: seconds / calls for name, seconds in whole.items()}


def _mark() -> torch.cuda.Event:
    return torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
