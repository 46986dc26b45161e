"""What commands print: results to stdout, everything else to stderr."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import click

from pemn_cli.failures import one_line, printable

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["percent", "print_json", "print_line", "print_table", "ratio", "seconds", "size", "status", "stderr_console"]


def size(count: int) -> str:
    """A number of bytes, exact to the byte and easy to compare: `142.3 kB (142,336 B)`; 1 kB is 1,000 bytes."""
    exact = f"{count:,} B"
    for unit, weight in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= 10 * weight or (weight > 1000 and count >= weight):
            return f"{count / weight:.1f} {unit} ({exact})"
    return exact


def seconds(duration: float) -> str:
    """A duration in the unit that suits it: `0.42 ms`, `38 ms`, `2.10 s`, `4 min 07 s`."""
    if duration >= 60:
        return f"{int(duration) // 60} min {int(duration) % 60:02d} s"
    if duration >= 1:
        return f"{duration:.2f} s"
    return f"{duration * 1e3:.0f} ms" if duration >= 0.01 else f"{duration * 1e3:.2f} ms"


def percent(fraction: float, digits: int = 2) -> str:
    """A fraction in [0, 1] as a percentage."""
    return f"{100 * fraction:.{digits}f} %"


def ratio(larger: int, smaller: int) -> str:
    """How many times `smaller` goes into `larger`: `26.6x`."""
    return f"{larger / smaller:.1f}x" if smaller else "-"


def print_json(document: Mapping[str, object]) -> None:
    """One JSON object on stdout, keys sorted."""
    click.echo(json.dumps(document, indent=2, sort_keys=True, allow_nan=False))


def print_line(text: str = "") -> None:
    """One line of the result."""
    click.echo(printable(text))


def print_table(
    rows: Sequence[Sequence[str]], *, align: str = "l", header: Sequence[str] = (), indent: int = 0
) -> None:
    """Aligned columns on stdout.

    `align` holds `l` or `r` for each column, the last one for all that follow. The header is bold on a terminal;
    anywhere else the text is plain, and as wide as it needs to be.
    """
    cells = [[printable(cell) for cell in row] for row in [*([header] if header else []), *rows]]
    columns = max(map(len, cells), default=0)
    widths = [max(len(row[column]) for row in cells if column < len(row)) for column in range(columns)]
    flush = align.ljust(columns, align[-1])
    for number, row in enumerate(cells):
        parts = [
            cell.rjust(width) if side == "r" else cell.ljust(width)
            for cell, width, side in zip(row, widths, flush, strict=False)
        ]
        line = (" " * indent + "  ".join(parts)).rstrip()
        click.echo(_heading(line) if header and number == 0 else line)


def _heading(text: str) -> str:
    return text if os.environ.get("NO_COLOR") else click.style(text, bold=True)


def stderr_console() -> Console:
    """A rich console on stderr; its bars and colours vanish when stderr is no terminal."""
    from rich.console import Console

    return Console(file=sys.stderr, highlight=False)


def status(text: str) -> None:
    """One line about what is going on, on stderr."""
    click.echo(one_line(text), err=True)
