"""The picture of `plot`: loss, accuracy, densities and bytes of runs over their epochs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pemn_cli.failures import printable
from pemn_cli.picture import FAINT, INK, kind_of, picture, plain
from pemn_cli.run_metrics import RunMetrics

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["draw"]

COLOURS = ("#2f6db5", "#e08a1e", "#3f9b6b", "#7a4fa3", "#c2557a", "#8a8f98", "#c9b21b", "#3aa6b9")
"""One a run; they begin again after the last."""

_ABREAST = 4  # names of runs in a row
_NAMED_LAYERS = 8
_LOG_FROM = 20  # what spans this factor is easier to read on a logarithmic axis


def draw(runs: Sequence[RunMetrics], path: Path, *, force: bool) -> None:
    """Write the picture; it appears whole or not at all. The same runs give the same bytes.

    Raises:
        PemnError: the name's ending is not .svg or .png, matplotlib is missing, or `path` exists and `force` is off.
    """
    kind = kind_of(path, "--out")
    from matplotlib.ticker import MaxNLocator

    rows = -(-len(runs) // _ABREAST)
    with picture(path, kind, (11, 7.2 + 0.25 * rows), force=force) as figure:
        (loss, accuracy), (density, size) = figure.subplots(2, 2, sharex=True)
        _split_curves(loss, runs, "loss")
        _split_curves(accuracy, runs, "accuracy")
        _densities(density, runs)
        _bytes(size, runs)
        for axes in (density, size):
            axes.set_xlabel("epoch", color=FAINT, loc="right", fontsize=10)
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        _legend(figure, runs)


def _colour(number: int) -> str:
    return COLOURS[number % len(COLOURS)]


def _split_curves(axes: Axes, runs: Sequence[RunMetrics], what: str) -> None:
    """Training and held-out images of each run, and a dot where its best epoch is."""
    values: list[float] = []
    for number, run in enumerate(runs):
        held_out = f"{run.watched}_{what}"
        for key, style, width in ((f"train_{what}", (0, (3, 2)), 1.2), (held_out, "solid", 1.8)):
            epochs, curve = run.curve(key)
            _line(axes, epochs, curve, color=_colour(number), linestyle=style, linewidth=width)
            values += curve
        best = run.best
        if best.get(held_out) is not None:
            axes.plot(best["epoch"], best[held_out], "o", color=_colour(number), markeredgecolor="white", zorder=4)
    if what == "loss" and min(values) > 0 and max(values) > _LOG_FROM * min(values):
        _logarithmic(axes, "{x:g}")
    if what == "accuracy":
        _key(axes, runs)
    _dress(axes, "Loss (nats)" if what == "loss" else "Accuracy (%)")


def _densities(axes: Axes, runs: Sequence[RunMetrics]) -> None:
    """The fraction kept of every masked tensor, thin, and of all together, thick."""
    from matplotlib import colormaps

    alone = len(runs) == 1
    named = alone and len(runs[0].layers) <= _NAMED_LAYERS
    for number, run in enumerate(runs):
        last = max(1, len(run.layers) - 1)
        for place, layer in enumerate(run.layers):
            colour = colormaps["viridis"](0.9 * place / last) if alone else _colour(number)
            look: dict[str, Any] = {"color": colour, "linewidth": 1.2 if alone else 0.8, "alpha": 1 if alone else 0.35}
            _line(axes, *run.layer(layer), **look, label=printable(layer) if named else None)
        if run.layers:
            colour = INK if alone else _colour(number)
            _line(axes, *run.curve("density"), color=colour, linewidth=2.4, label="all" if named else None)
    if named and runs[0].layers:
        axes.legend(frameon=False, fontsize=8.5, ncols=2, loc="best", handlelength=1.4, columnspacing=1.2)
    masked = [run for run in runs if run.layers]
    if not masked:
        axes.text(0.5, 0.5, "no masks", transform=axes.transAxes, ha="center", color=FAINT)
    count = f" of {len(masked[0].layers)} masks, dark to light along the net" if alone and masked and not named else ""
    _dress(axes, f"Density{count}")


def _bytes(axes: Axes, runs: Sequence[RunMetrics]) -> None:
    """What an export of each epoch would take."""
    from matplotlib.ticker import MaxNLocator

    values: list[float] = []
    for number, run in enumerate(runs):
        epochs, sizes = run.curve("estimated_bytes")
        _line(axes, epochs, sizes, color=_colour(number), linewidth=1.8)
        values += sizes
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.yaxis.set_major_formatter("{x:,.0f}")
    if max(values) > _LOG_FROM * min(values):
        _logarithmic(axes, "{x:,.0f}")
    _dress(axes, "Estimated file (bytes)")


def _line(axes: Axes, epochs: Sequence[int], values: Sequence[float], **look: Any) -> None:
    """A curve; a single epoch shows as a dot."""
    axes.plot(epochs, values, marker="." if len(epochs) == 1 else None, solid_capstyle="round", **look)


def _dress(axes: Axes, title: str) -> None:
    axes.set_title(title, loc="left", fontsize=11, weight="bold")
    axes.tick_params(colors=FAINT, labelsize=9.5, length=0, which="both")
    axes.margins(x=0.02)
    plain(axes, grid="y")


def _legend(figure: Figure, runs: Sequence[RunMetrics]) -> None:
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], color=_colour(number), linewidth=2.4) for number in range(len(runs))]
    shown = [printable(run.name) for run in runs]
    names = [name if len(name) <= 40 else f"{name[:39]}…" for name in shown]
    figure.legend(
        handles, names, ncols=min(_ABREAST, len(names)), loc="outside upper left", frameon=False, fontsize=10,
        handlelength=1.8, columnspacing=2,
    )  # fmt: skip


def _key(axes: Axes, runs: Sequence[RunMetrics]) -> None:
    """What dashes, lines and dots mean."""
    from matplotlib.lines import Line2D

    held_out = " or ".join(sorted({run.watched for run in runs}, reverse=True))
    handles = [
        Line2D([], [], color=FAINT, linestyle=(0, (3, 2)), linewidth=1.2, label="training images"),
        Line2D([], [], color=FAINT, linewidth=1.8, label=f"{held_out} images"),
        Line2D([], [], color=FAINT, marker="o", linestyle="none", label="best epoch"),
    ]
    axes.legend(handles=handles, frameon=False, fontsize=8.5, loc="best", handlelength=2.2)


def _logarithmic(axes: Axes, form: str) -> None:
    axes.set_yscale("log")
    axes.yaxis.set_minor_formatter("")
    axes.yaxis.set_major_formatter(form)
