"""A seeded, stratified choice of held-out images that no library's random numbers can change."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pemn_formats.errors import PemnError
from pemn_formats.philox import words

__all__ = ["SPLIT_STREAM", "Indices", "holdout"]

SPLIT_STREAM = 3 << 32
"""The Philox stream that orders images; values, permutations and scores use others."""

Indices = npt.NDArray[np.int64]


def holdout(labels: npt.ArrayLike, fraction: float, seed: int) -> tuple[Indices, Indices]:
    """Split the indices of `labels` in two, (kept, held out), each ascending.

    Image i draws word i of the stream; of a class with n images, the round(n * fraction) with the smallest
    (word, index) are held out, at least one and at most n - 1. Fraction 0 holds nothing out.
    Raises PemnError unless 0 <= fraction < 1.
    """
    if not 0 <= fraction < 1:
        raise PemnError(f"validation fraction is {fraction!r}; expected 0 or more, and less than 1")
    classes = np.asarray(labels, dtype=np.int64)
    held = np.zeros(len(classes), dtype=bool)
    if fraction:
        order = np.argsort(words(seed, SPLIT_STREAM, 0, len(classes)), kind="stable")
        for label in np.unique(classes):
            members = order[classes[order] == label]
            wanted = int(len(members) * fraction + 0.5)
            held[members[: min(max(wanted, 1), len(members) - 1)]] = True
    return np.flatnonzero(~held).astype(np.int64), np.flatnonzero(held).astype(np.int64)
