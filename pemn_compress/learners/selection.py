"""Which scores are the largest: exactly, the same on every device, without sorting them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch

from pemn_compress.plain import addresses, eager
from pemn_formats.native import compiled

__all__ = ["above_cut", "find_cut", "find_margin", "find_margins", "kept_count"]

_SAMPLE = 1024
_SPREAD = 60  # ranks beside the one looked for: a random sample misses it in one of thousands of draws
_SMALL = 4096

Floats = npt.NDArray[np.float32]


def kept_count(density: float, weights: int) -> int:
    """Return how many of so many weights a density keeps: floor(density * weights + 1/2), at least one."""
    return max(1, int(density * weights + 0.5))


def find_cut(magnitudes: Sequence[torch.Tensor], count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return (least, places) of the `count` largest of all magnitudes, without a branch on data.

    `least` is the smallest of them, `places` int64 of shape (tensors,): among equals the earlier tensor wins, then the
    lower flat index, and so many of those equal to `least` each tensor may keep, or more than it has. Magnitudes are
    not negative.
    """
    flat = [magnitude.reshape(-1) for magnitude in magnitudes]
    everything = flat[0] if len(flat) == 1 else torch.cat(flat)
    least = torch.topk(everything, count, sorted=False).values.amin()
    equal = torch.stack([(part == least).sum() for part in flat])
    left = count - (everything > least).sum()
    return least, (left - equal.cumsum(0) + equal).clamp(min=0)


def above_cut(magnitude: torch.Tensor, least: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    """Return bool in the same shape: True at what a tensor keeps under the cut that `find_cut` found."""
    flat = magnitude.reshape(-1)
    equal = flat == least
    first = equal & (equal.cumsum(0, dtype=torch.int32) <= places)
    return ((flat > least) | first).reshape(magnitude.shape)


def find_margin(scores: Sequence[torch.Tensor], count: int) -> float | None:
    """Return a number, at least 0, that exactly the `count` largest of all magnitudes exceed.

    None where there is none, because equals lie on both sides of the cut or all are kept. For tensors on the CPU. The
    compiled loops count bits. Without them a sample gives two bounds (Floyd and Rivest 1975), and only what lies
    between them is partitioned, which is exact whatever the sample says. Their answers may differ, never what exceeds
    them.
    """
    margin = _compiled_margin(scores, count)
    if margin is not False:
        return margin
    flat = [score.detach().numpy().reshape(-1) for score in scores]
    if len(flat) == 1:
        magnitude = np.abs(flat[0])
    else:
        magnitude = np.concatenate(flat)
        np.abs(magnitude, out=magnitude)
    below = magnitude.size - count  # how many are not kept
    if not below:
        return None
    least, before = _around(magnitude, below)
    return float(before) if least > before else None


def find_margins(scores: Sequence[torch.Tensor], counts: Sequence[int]) -> Sequence[float | None]:
    """Return `find_margin` of each tensor by itself."""
    loops = compiled()
    rows = None if loops is None else _rows(scores)
    if loops is None or rows is None:
        return [find_margin([score], count) for score, count in zip(scores, counts, strict=True)]
    margins = loops.margins(rows, tuple(counts))
    return [None if count == size else margin for margin, count, size in zip(margins, counts, rows[1::2], strict=True)]


def _compiled_margin(scores: Sequence[torch.Tensor], count: int) -> float | Literal[False] | None:
    """Return the same from the compiled loops, or False where they cannot serve."""
    loops = compiled()
    if loops is None:
        return False
    rows = _rows(scores)
    if rows is None:
        return False
    return loops.margin(rows, count) if count < sum(rows[1::2]) else None


def _rows(scores: Sequence[torch.Tensor]) -> tuple[int, ...] | None:
    """Return address and count of each, or None where one has none."""
    if not eager():
        return None
    rows: list[int] = []
    for score in scores:
        place = addresses(score)
        if not place:
            return None
        rows += place[0], score.numel()
    return tuple(rows)


def _around(flat: Floats, rank: int) -> tuple[Any, Any]:
    """Return the values of rank `rank` and `rank` - 1 in rising order, counted from 0; may reorder what it is given."""
    outside, part = 0, flat
    if flat.size > _SMALL:
        sample = np.sort(flat[:: -(-flat.size // _SAMPLE)])
        middle = rank * sample.size // flat.size
        low = sample[max(0, middle - _SPREAD)]
        high = sample[min(sample.size - 1, middle + _SPREAD)]
        outside = int(np.count_nonzero(flat < low))
        part = flat[np.flatnonzero((flat >= low) & (flat <= high))]  # sooner than by the mask itself
        if not outside < rank < outside + part.size:
            outside, part = 0, flat
    rank -= outside
    part.partition(rank)
    return part[rank], part[:rank].max()
