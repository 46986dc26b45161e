"""What the file of a net will take, known before it is trained."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from pemn_compress.saving import to_content
from pemn_compress.train.building import build_model
from pemn_compress.train.run_config import RunConfig
from pemn_compress.within import DTYPES_BY_SIZE
from pemn_formats.content import Content
from pemn_formats.foresight import Foreseen, most_bytes

__all__ = ["FEWEST_BITS", "LARGEST_DTYPE", "SMALLEST_DTYPE", "NetBytes", "bytes_of_a_net", "can_steer"]

SMALLEST_DTYPE, LARGEST_DTYPE = DTYPES_BY_SIZE[0], DTYPES_BY_SIZE[-1]
"""Between these a file of a budget stores what is not masked, unless a run names one dtype."""

FEWEST_BITS = 0.7
"""Bits a weight down to which training may steer; below 0.6 a smaller net at one bit is better."""

_LEARNED_KERNELS = 0.85
"""Bits a weight that masks of dense k x k convolutions keep once they learned: neighbours agree. A ResNet-20 after four
epochs of 15,000 images took 0.81 (benchmarks/mask_codecs.py); pointwise and depthwise layers gain next to nothing."""


@dataclass(frozen=True)
class NetBytes:
    """What a net's file can take.

    `weights` are masked ones. `least` is the most that the file takes with the residual in its smallest dtype, part by
    part; `most` the whole file with it in the largest. `likely` is `least` less what masks of kernels usually save,
    `fewest` what is left when training steers as far as it may.
    """

    weights: int
    least: Foreseen
    most: int
    likely: int
    fewest: int


def bytes_of_a_net(options: RunConfig, described: Mapping[str, Any]) -> NetBytes:
    """Build the net of a run on the CPU, untrained, and return what its file can take.

    Args:
        options: the run; its `residual_dtype` None stands for anything from the smallest to the largest.
        described: what the network takes, as `DataSpec.to_input` gives it.

    Raises:
        PemnError: there is no such net, or it cannot be saved.
    """
    model = build_model(options, described)
    small = to_content(model, input=described, residual_dtype=options.residual_dtype or SMALLEST_DTYPE)
    least = most_bytes(small)
    steers = can_steer(options)
    saved = _learned_kernels(small) * (1 - _LEARNED_KERNELS) / 8 if steers else 0.0
    spared = (1 - FEWEST_BITS) * least.masks if steers else 0.0
    return NetBytes(
        weights=sum(tensor.numel for tensor in small.masked),
        least=least,
        most=most_bytes(_in(LARGEST_DTYPE, small)).file,
        likely=math.floor(least.file - saved),
        fewest=math.ceil(least.file - spared),
    )


def _in(dtype: str, content: Content) -> Content:
    """The same without values, its smallest residual entries in another dtype."""
    residual = (replace(entry, dtype=dtype) if entry.dtype == SMALLEST_DTYPE else entry for entry in content.residual)
    return replace(content, residual=tuple(residual))


def can_steer(options: RunConfig) -> bool:
    """Whether the masks' bits can be brought down in training: a learner of free density, one bit a weight."""
    return options.mask is not None and options.mask.learner == "threshold" and options.mask.alphabet != "ternary"


def _learned_kernels(content: Content) -> int:
    """The masked weights in dense k x k convolutions of more inputs than pixels have channels."""
    return sum(t.numel for t in content.masked if math.prod(t.shape[2:]) > 1 and t.shape[1] > 4)
