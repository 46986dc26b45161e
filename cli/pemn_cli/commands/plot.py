"""`pemn-compress plot`: the curves of training runs, as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pemn_cli.options import PATH, force_option
from pemn_cli.output import print_table, size

if TYPE_CHECKING:
    from pemn_cli.run_metrics import RunMetrics

__all__ = ["command"]


@click.command(name="plot", short_help="Draw loss, accuracy, densities and bytes of runs.")
@click.argument("runs", metavar="RUN...", nargs=-1, required=True)
@click.option("--out", type=PATH, required=True, metavar="OUT.svg|OUT.png", help="The picture.")
@click.option("--runs-dir", type=PATH, default="runs", show_default=True, help="Folder that holds the runs.")
@force_option
def command(runs: tuple[str, ...], out: Path, runs_dir: Path, force: bool) -> None:
    """Draw the curves of runs, finished or not, over one another.

    Loss and accuracy on training and held-out images, the density of every masked tensor, and the bytes that an export
    would take. RUN is a folder, or the name of one in --runs-dir. Needs no torch.

    \b
    Examples:
      pemn-compress plot digits-mlp-rp-0 --out run.svg
      pemn-compress plot runs/* --out runs.png --force
    """
    from pemn_cli.curves import draw
    from pemn_cli.picture import kind_of
    from pemn_cli.run_metrics import read_metrics
    from pemn_formats.atomic import check_writable

    kind_of(out, "--out")
    check_writable(out, force=force)
    found = _told_apart([read_metrics(_folder(name, runs_dir)) for name in runs], runs)
    draw(found, out, force=force)
    rows = [(run.name, _epochs(len(run.records)), f"best {run.best['epoch']}") for run in found]
    print_table([*rows, (str(out), size(out.stat().st_size))], align="lr")


def _told_apart(found: Sequence[RunMetrics], typed: Sequence[str]) -> list[RunMetrics]:
    """The runs, those of equal names under what the user typed for them."""
    names = [run.name for run in found]
    return [
        replace(run, name=text) if names.count(run.name) > 1 else run for run, text in zip(found, typed, strict=True)
    ]


def _epochs(count: int) -> str:
    return f"{count:,} epoch{'' if count == 1 else 's'}"


def _folder(name: str, runs_dir: Path) -> Path:
    return Path(name) if Path(name).exists() else runs_dir / name
