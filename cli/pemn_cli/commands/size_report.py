"""`pemn-compress size-report`: where every byte of a file went, and what it is small against."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pemn_cli.opening import opened
from pemn_cli.options import PATH, force_option, json_option, models_argument, packed_memory_option
from pemn_cli.output import print_json, print_table, size, status

if TYPE_CHECKING:
    from pemn_formats.ledger import Ledger

__all__ = ["command"]


@click.command(name="size-report", short_help="Account for every byte of files, beside the dense checkpoint.")
@models_argument
@click.option("--dense", type=PATH, metavar="FILE", help="Compare with this dense checkpoint too, as it is on disk.")
@click.option("--plot", type=PATH, metavar="OUT.svg|OUT.png", help="Also draw the ledger.")
@force_option
@packed_memory_option
@json_option
def command(
    models: tuple[Path, ...],
    dense: Path | None,
    plot: Path | None,
    force: bool,
    memory_budget: int | None,
    as_json: bool,
) -> None:
    """Account for every byte of .pemn files, several side by side.

    The parts sum to the file. The dense checkpoint holds the same tensors as plain numbers (BatchNorm unfolded, as a
    state dict has it). "distance to Shannon" is how far the masks are above (or, where structure was found, below)
    the entropy of independent bits. The paper counts a float prototype and one bit a weight against 32-bit masked
    weights, without BatchNorm and header; that count stands beside ours. Needs no torch.

    \b
    Examples:
      pemn-compress size-report model.pemn
      pemn-compress size-report a.pemn b.pemn --plot sizes.svg
    """
    from pemn_cli.ledger_table import dense_file, record, rows

    if plot is not None:
        _check_plot(plot, force=force)
    other = None if dense is None else dense_file(dense)
    ledgers, tasks = [], []
    for path in models:
        with opened(path, memory_budget=memory_budget) as reader:
            ledgers.append(reader.ledger())
            tasks.append(sorted(reader.manifest.tasks))
    if plot is not None:
        _draw(models, ledgers, plot, force=force)
    if as_json:
        records = [record(path, ledger, other) for path, ledger in zip(models, ledgers, strict=True)]
        print_json({"files": [{**each, "tasks": names} for each, names in zip(records, tasks, strict=True)]})
    else:
        table = rows(ledgers, other)
        if any(tasks):
            table.insert(0, ["tasks", *(", ".join(names) or "-" for names in tasks)])
        print_table(table, align="lr", header=["", *(path.name for path in models)])


def _check_plot(plot: Path, *, force: bool) -> None:
    """Find out that the picture cannot be made before the files are read."""
    from pemn_cli.picture import kind_of
    from pemn_formats.atomic import check_writable

    kind_of(plot, "--plot")
    check_writable(plot, force=force)


def _draw(models: Sequence[Path], ledgers: Sequence[Ledger], plot: Path, *, force: bool) -> None:
    from pemn_cli.ledger_table import bar
    from pemn_cli.plot import draw

    draw([bar(path, ledger) for path, ledger in zip(models, ledgers, strict=True)], plot, force=force)
    status(f"drew {plot}, {size(plot.stat().st_size)}")
