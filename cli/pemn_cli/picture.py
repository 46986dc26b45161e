"""What every picture shares: its kind, its colours, its plain axes, and a file that appears whole or not at all."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["FAINT", "GRID", "INK", "RULE", "kind_of", "picture", "plain"]

INK = "#222831"
FAINT = "#667080"
RULE = "#c7ccd4"
GRID = "#e6e9ee"


def kind_of(path: Path, option: str) -> str:
    """The image format that a file name asks for: `svg` or `png`.

    Raises:
        PemnError: it asks for something else, or matplotlib is not installed; the message names `option`.
    """
    from pemn_formats.errors import PemnError

    kind = path.suffix.lower().lstrip(".")
    if kind not in ("svg", "png"):
        raise PemnError(f"{option} {path}: expected a name that ends in .svg or .png")
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise PemnError(f"{option} needs matplotlib: pip install 'pemn-compress[plot]'") from None
    return kind


@contextmanager
def picture(path: Path, kind: str, size: tuple[float, float], *, force: bool) -> Iterator[Figure]:
    """Yield a figure of `size` inches, written to `path` when the block ends well. The same drawing, the same bytes.

    Raises:
        PemnError: `path` exists and `force` is off, or it cannot be written.
    """
    from pemn_formats.atomic import atomic_write

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import matplotlib
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
        from matplotlib.layout_engine import ConstrainedLayoutEngine

        style: dict[Any, Any] = {
            "svg.hashsalt": "pemn",
            "svg.fonttype": "path",
            "font.size": 11,
            "text.color": INK,
            "text.parse_math": False,  # a dollar in a file's name is a dollar
        }
        with matplotlib.rc_context(style), atomic_write(path, force=force) as file:
            layout = ConstrainedLayoutEngine(h_pad=0.12, w_pad=0.12, hspace=0.04)
            figure = Figure(figsize=size, layout=layout, facecolor="white")
            FigureCanvasAgg(figure)
            yield figure
            figure.savefig(file, format=kind, dpi=160, metadata={"Date": None} if kind == "svg" else {"Software": None})


def plain(axes: Axes, *, grid: str) -> None:
    """Leave of the frame the line at the bottom, and of the grid the lines across `grid` (`x` or `y`)."""
    axes.grid(axis=grid, color=GRID, linewidth=0.8)  # type: ignore[arg-type]
    axes.set_axisbelow(True)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(RULE)
