"""How fast images are augmented when nothing waits for them but a loop."""

from __future__ import annotations

import dataclasses
import statistics
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch

from benchmarks.reference.data import train_loader
from benchmarks.reference.runs import ours
from pemn_compress.data import Splits
from pemn_compress.train.batches import TrainBatches

__all__ = ["input_speeds"]


def input_speeds(
    splits: Splits, options: Mapping[str, Any], *, rounds: int, device: torch.device
) -> dict[str, dict[str, float]]:
    """Images a second of the reference's input, of torchvision on tensors, and of ours; in this process, in turns."""
    recipe = ours("paper", options).config.train
    images, spec = splits.train, splits.spec
    one_by_one = TrainBatches(images, spec, dataclasses.replace(recipe, workers=0), device)
    together = TrainBatches(images, spec, recipe, device)
    plain = train_loader(images, spec, recipe, 0)
    ways: dict[str, Callable[[int], Iterable[object]]] = {
        "reference, PIL": lambda _: plain,
        "torchvision, tensors": one_by_one.epoch,
        "in batches": together.epoch,
    }
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds + 1):
        for name, epoch in ways.items():
            began = time.perf_counter()
            for _ in epoch(number):
                pass
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            taken[name].append(len(images) / (time.perf_counter() - began))
    return {
        name: {"median": statistics.median(speeds[1:]), "least": min(speeds[1:]), "most": max(speeds[1:])}
        for name, speeds in taken.items()
    }
