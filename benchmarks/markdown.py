"""Tables and phrases of the README."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["byte_count", "net_phrase", "table", "where"]


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table whose first column is text and whose others are numbers."""
    lines = [header, ["---"] + ["---:"] * (len(header) - 1), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def byte_count(count: float) -> str:
    """Bytes, with commas."""
    return f"{count:,.0f} B"


def net_phrase(options: Mapping[str, Any]) -> str:
    """A model and its arguments, such as `convmixer dim 48 depth 4`."""
    return " ".join([options["model"], *(f"{name} {value}" for name, value in options["model_args"].items())])


def where(results: Mapping[str, Any]) -> str:
    """The device and the version of torch that results come from."""
    environment = results["environment"]
    hardware = environment["hardware"]
    device = hardware["gpu"] or f"{hardware['cores']}-core CPU"
    return f"{device}, torch {environment['versions']['torch'].partition('+')[0]}"
