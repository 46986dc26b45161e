"""The picture of `size-report --plot`: where each file's bytes went, and the dense checkpoint to scale."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pemn_cli.output import size
from pemn_cli.picture import FAINT, kind_of, picture, plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Bar", "draw"]

PARTS = {
    "masks": "#2f6db5",
    "prototype": "#7a4fa3",
    "BatchNorm": "#e08a1e",
    "channel scales": "#c9b21b",
    "int8 layers": "#c2557a",
    "other residual": "#3f9b6b",
    "header": "#8a8f98",
}
"""Part to colour, in the order of the bar."""

DENSE = "#c7ccd4"


@dataclass(frozen=True)
class Bar:
    """One file: its printable name, its bytes by part (keys of PARTS), and those of the dense checkpoints beside it."""

    name: str
    parts: dict[str, int]
    dense_float32: int
    dense_float16: int

    @property
    def total(self) -> int:
        """Bytes of the whole file."""
        return sum(self.parts.values())


def draw(bars: Sequence[Bar], path: Path, *, force: bool) -> None:
    """Write the picture; it appears whole or not at all. The same files give the same bytes.

    Raises:
        PemnError: the name's ending is not .svg or .png, matplotlib is missing, or `path` exists and `force` is off.
    """
    heights = [0.62 * len(bars) + 0.9, 0.62 * (len(bars) + _dense_rows(bars)) + 0.9]
    with picture(path, kind_of(path, "--plot"), (11, 1.1 + sum(heights)), force=force) as figure:
        ledger, scale = figure.subplots(2, 1, height_ratios=heights)
        _ledger(ledger, bars)
        _to_scale(scale, bars)


def _ledger(axes: Axes, bars: Sequence[Bar]) -> None:
    """One stacked bar a file, each part labelled where it has room."""
    unit, weight = _unit(max(bar.total for bar in bars))
    longest = max(bar.total for bar in bars) / weight
    for row, bar in enumerate(bars):
        left = 0.0
        for part, colour in PARTS.items():
            width = bar.parts.get(part, 0) / weight
            if not width:
                continue
            axes.barh(row, width, left=left, color=colour, height=0.62, edgecolor="white", linewidth=0.8)
            if width > 0.11 * longest:
                share = f"{100 * width * weight / bar.total:.0f} %"
                axes.text(left + width / 2, row, share, ha="center", va="center", color="white", weight="bold")
            left += width
        ratio = f"{bar.dense_float32 / bar.total:.1f}x smaller than dense float32" if bar.total else ""
        _beside(axes, left, row, f"{size(bar.total)}\n{ratio}")
    used = [part for part in PARTS if any(bar.parts.get(part) for bar in bars)]
    handles: list[Any] = [axes.barh(0, 0, color=PARTS[part]) for part in used]
    axes.legend(
        handles, used, ncols=len(used), loc="lower left", bbox_to_anchor=(-0.008, 1), frameon=False, borderpad=0,
        handlelength=1, handleheight=1, handletextpad=0.5, columnspacing=1.6, fontsize=10,
    )  # fmt: skip
    axes.set_title("Every byte of the file", loc="left", pad=26, weight="bold")
    _dress(axes, [bar.name for bar in bars], unit, longest)


def _to_scale(axes: Axes, bars: Sequence[Bar]) -> None:
    """The dense checkpoints and the same files on one axis."""
    rows: list[tuple[str, int, str]] = []
    for position, bar in enumerate(bars):
        rows.append((bar.name, bar.total, PARTS["masks"]))
        following = bars[position + 1] if position + 1 < len(bars) else None
        if following is None or following.dense_float32 != bar.dense_float32:
            rows.append(("dense float16", bar.dense_float16, DENSE))
            rows.append(("dense float32", bar.dense_float32, DENSE))
    unit, weight = _unit(max(count for _, count, _ in rows))
    longest = max(count for _, count, _ in rows) / weight
    for row, (_, count, colour) in enumerate(rows):
        axes.barh(row, count / weight, color=colour, height=0.62)
        _beside(axes, count / weight, row, size(count))
    axes.set_title("To scale, beside the dense checkpoint of the same network", loc="left", pad=8, weight="bold")
    _dress(axes, [name for name, _, _ in rows], unit, longest)


def _dense_rows(bars: Sequence[Bar]) -> int:
    """Rows that the dense checkpoints take; neighbours of the same network share theirs."""
    changes = sum(a.dense_float32 != b.dense_float32 for a, b in pairwise(bars))
    return 2 * (1 + changes)


def _beside(axes: Axes, end: float, row: int, text: str) -> None:
    """Text to the right of where a bar ends, on white so that no grid line runs through it."""
    ground = {"facecolor": "white", "edgecolor": "none", "pad": 1.5}
    axes.annotate(text, (end, row), (8, 0), textcoords="offset points", va="center", fontsize=10, bbox=ground)


def _dress(axes: Axes, names: Sequence[str], unit: str, longest: float) -> None:
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_xlim(0, longest * 1.36)
    axes.set_xticks([tick for tick in axes.get_xticks() if 0 <= tick <= longest * 1.1])
    axes.set_xlabel(unit, color=FAINT, loc="left", fontsize=10)
    axes.tick_params(axis="y", length=0)
    axes.tick_params(axis="x", colors=FAINT)
    plain(axes, grid="x")


def _unit(largest: int) -> tuple[str, int]:
    """Unit and weight of an axis that reaches `largest` bytes."""
    for unit, weight in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if largest >= 2 * weight:
            return f"{unit} (1 {unit} = {weight:,} bytes)", weight
    return "bytes", 1
