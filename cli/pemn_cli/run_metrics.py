"""The numbers that a run wrote down epoch by epoch, read without torch."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pemn_formats.errors import PemnError

__all__ = ["RunMetrics", "read_metrics"]

_NUMBERS = ("train_loss", "train_accuracy", "estimated_bytes")
_PERHAPS = ("validation_loss", "validation_accuracy", "test_loss", "test_accuracy", "density")


@dataclass(frozen=True)
class RunMetrics:
    """A run's name and one record an epoch, as `metrics.jsonl` has them."""

    name: str
    records: tuple[Mapping[str, Any], ...]

    def curve(self, key: str) -> tuple[list[int], list[float]]:
        """Epochs and values where the run has a value under `key`."""
        points = [(record["epoch"], record[key]) for record in self.records if record.get(key) is not None]
        return [epoch for epoch, _ in points], [value for _, value in points]

    def layer(self, name: str) -> tuple[list[int], list[float]]:
        """Epochs and densities of one masked tensor."""
        points = [(record["epoch"], record["densities"][name]) for record in self.records]
        return [epoch for epoch, _ in points], [value for _, value in points]

    @property
    def layers(self) -> list[str]:
        """The masked tensors, in the order of the net."""
        return list(self.records[0]["densities"])

    @property
    def watched(self) -> str:
        """The held-out split that every epoch was measured on: `validation`, or `test` where that chose the best."""
        return "validation" if self.records[0].get("validation_loss") is not None else "test"

    @property
    def best(self) -> Mapping[str, Any]:
        """The record of the best epoch so far."""
        return next((record for record in reversed(self.records) if record.get("best")), self.records[-1])


def read_metrics(folder: Path) -> RunMetrics:
    """Read what a run, finished or not, wrote down; a last line that is cut short is being written and is left out.

    Raises:
        PemnError: the folder is no run, it has no finished epoch, or a line is damaged.
    """
    path = folder / "metrics.jsonl"
    if not (folder / "config.json").is_file():
        empty = folder.is_dir() and not any(folder.iterdir())
        why = "it is empty, as if killed before training began" if empty else "it has no config.json"
        raise PemnError(f"{folder} is no training run: {why}")
    try:
        lines = path.read_text("utf-8").split("\n")
    except FileNotFoundError:
        lines = [""]
    except UnicodeDecodeError:
        raise PemnError(f"{path} is damaged: it is no text") from None
    except OSError as error:
        raise PemnError(f"{path} cannot be read: {error.strerror}") from None
    records = tuple(_record(line, number, path) for number, line in enumerate(lines[:-1], 1))
    if not records:
        raise PemnError(f"{folder} has no finished epoch yet")
    for number, record in enumerate(records, 1):
        if list(record["densities"]) != list(records[0]["densities"]):
            raise PemnError(f"{path} is damaged: line {number} has other masked tensors than line 1")
    return RunMetrics(folder.resolve().name, records)


def _record(line: str, number: int, path: Path) -> Mapping[str, Any]:
    try:
        record = json.loads(line)
        known = (
            type(record["epoch"]) is int
            and all(_number(record[key]) for key in _NUMBERS)
            and all(record.get(key) is None or _number(record[key]) for key in _PERHAPS)
            and all(map(_number, record["densities"].values()))
        )
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        known = False
    if not known:
        raise PemnError(f"{path} is damaged: line {number} is no record of an epoch")
    found: Mapping[str, Any] = record
    return found


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
