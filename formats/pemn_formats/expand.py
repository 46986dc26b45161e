"""From packed masks to dense weights at memory speed, straight into arrays that exist already.

The same bytes as `pemn_formats.reconstruct`, which says it plainly; here a byte of a mask becomes eight weights by
table (`bit_rows`), and what is selected from comes in blocks (`value_blocks`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from pemn_formats.bit_rows import RowSelect
from pemn_formats.bits import popcount
from pemn_formats.content import Content, MaskedTensor
from pemn_formats.deposit import deposit
from pemn_formats.errors import PemnError
from pemn_formats.native import compiled
from pemn_formats.value_blocks import BLOCK, ValueBlocks, word_of

__all__ = ["expand_into"]

# Weights that one thread takes at a time: with fewer, numpy's calls and the handing over of the interpreter's lock cost
# more than the work.
_JOB = 1 << 22
_SIGNS_AT_ONCE = 4 * BLOCK  # no values are held beside the weights, so more of them fit the cache
_DTYPES = {np.dtype(np.float32): "float32", np.dtype(np.float16): "float16", np.dtype(np.uint16): "bfloat16"}

PackedBits: TypeAlias = npt.NDArray[np.uint8]
Select: TypeAlias = Callable[[npt.NDArray[Any], PackedBits | None, PackedBits | None, npt.NDArray[Any]], None]


def expand_into(
    content: Content, targets: Iterable[tuple[MaskedTensor, npt.NDArray[Any]]], *, threads: int = 1
) -> None:
    """Write the dense weights of masked tensors into arrays, with a few MB of memory for each thread besides.

    An array is C-contiguous, has as many elements as its tensor, and is float32, float16, or uint16 for the bits of
    bfloat16. Raises `PemnError` for another array.
    """
    jobs: deque[tuple[_Expansion, int]] = deque()
    for tensor, out in targets:
        expansion = _Expansion(content, tensor, out)
        jobs.extend((expansion, start) for start in range(0, tensor.numel, _JOB))
    if threads <= 1 or len(jobs) <= 1:
        _work(jobs)
        return
    with ThreadPoolExecutor(threads) as pool:
        for done in [pool.submit(_work, jobs) for _ in range(min(threads, len(jobs)))]:
            done.result()


def _work(jobs: deque[tuple[_Expansion, int]]) -> None:
    loops, by_table = compiled(), RowSelect()
    with np.errstate(over="ignore"):
        while True:
            try:
                expansion, start = jobs.popleft()
            except IndexError:
                return
            expansion.write(start, loops.select if loops is not None and expansion.aligned else by_table)


class _Expansion:
    """One masked tensor and the array that it is written to."""

    def __init__(self, content: Content, tensor: MaskedTensor, out: npt.NDArray[Any]) -> None:
        if out.dtype not in _DTYPES or out.size != tensor.numel or not out.flags.c_contiguous:
            raise PemnError(
                f"{tensor.name} needs a contiguous array of {tensor.numel} values in float32, float16 or uint16"
                f" (bfloat16), found {out.size} of {out.dtype}"
            )
        dtype = _DTYPES[out.dtype]
        self._tensor = tensor
        self._values = ValueBlocks(content, tensor, dtype)
        self._word = word_of(dtype)
        self._out = out.reshape(-1).view(self._word)
        # A part of someone's bytes, such as a mapped file, may begin anywhere; numpy alone writes there.
        self.aligned = out.flags.aligned

    def write(self, start: int, select: Select) -> None:
        """Write the `_JOB` weights from `start`."""
        stop = min(start + _JOB, self._tensor.numel)
        values = self._values
        # Of values of one magnitude the weight follows from two bits, so no value is ever written down.
        signs = values.signs(start, stop - start) if values.signs_only else None
        step = BLOCK if signs is None else _SIGNS_AT_ONCE
        for at in range(start, stop, step):
            out = self._out[at : min(at + step, stop)]
            mask = self._tensor.planes[0][at // 8 :][: (out.size + 7) // 8]
            kept, flipped = self._bits(mask, at)
            if signs is None:
                select(out, kept, flipped, values.bits(at, out.size))
            else:
                drawn = signs[(at - start) // 8 :][: mask.size]
                select(out, kept, drawn if flipped is None else drawn ^ flipped, values.magnitude)

    def _bits(self, mask: PackedBits, at: int) -> tuple[PackedBits | None, PackedBits | None]:
        """Which weights from `at` on are kept, and which are -value; None for all and for none."""
        if self._tensor.alphabet == "sign":
            return None, ~mask
        return mask, self._negative(mask, at) if self._tensor.alphabet == "ternary" else None

    def _negative(self, mask: PackedBits, at: int) -> PackedBits:
        """Return packed bits, set where the weight is -value: plane 1 spread over the ones of plane 0."""
        first = self._kept_before[at // BLOCK]
        return deposit(mask, self._tensor.planes[1][first // 8 :][: mask.size + 1], first % 8)

    @cached_property
    def _kept_before(self) -> list[int]:
        """The number of ones of plane 0 before each block."""
        plane = self._tensor.planes[0]
        before = [0]
        for at in range(0, plane.size, BLOCK // 8):
            before.append(before[-1] + popcount(plane[at : at + BLOCK // 8]))
        return before
