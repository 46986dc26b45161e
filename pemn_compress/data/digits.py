"""The UCI optical digits, 1,797 real 8x8 images, embedded in the package (source and licence: digits.LICENSE.txt)."""

from __future__ import annotations

from functools import cache
from importlib import resources

import numpy as np
import numpy.typing as npt
import zstandard

from pemn_compress.data.pixels import adapt
from pemn_compress.data.source import Labelled, Reading, Source
from pemn_compress.data.split import holdout
from pemn_formats.errors import PemnError

__all__ = ["open_digits"]

_COUNT = 1_797
_PIXELS = 64
_TEST_FRACTION = 0.2
_CUT_SEED = 1_998  # the year of the data set; the cut must never change


def open_digits() -> Source:
    """Return the digits: 1,438 training and 359 test images, cut by class with a fixed seed, the same forever."""
    return Source(
        class_names=tuple("0123456789"),
        train=lambda reading: _part(0, reading),
        test=lambda reading: _part(1, reading),
    )


def _part(which: int, reading: Reading) -> Labelled:
    images, labels = _decoded()
    chosen = holdout(labels, _TEST_FRACTION, _CUT_SEED)[which]
    return Labelled(adapt(images[chosen], reading), labels[chosen])


@cache
def _decoded() -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    size = _COUNT * (_PIXELS + 1)
    frame = resources.files("pemn_compress.data").joinpath("digits.zst").read_bytes()
    try:
        plain = zstandard.ZstdDecompressor().decompress(frame, max_output_size=size)
    except zstandard.ZstdError as error:
        raise PemnError(f"the embedded digits are damaged ({error}); install pemn-compress again") from error
    if len(plain) != size:
        raise PemnError(f"the embedded digits have {len(plain)} bytes, expected {size}; install pemn-compress again")
    values = np.frombuffer(plain, dtype=np.uint8)
    pixels = values[: _COUNT * _PIXELS].astype(np.uint16) * 255 // 16
    return pixels.astype(np.uint8).reshape(_COUNT, 1, 8, 8), values[_COUNT * _PIXELS :].astype(np.int64)
