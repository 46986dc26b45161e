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
from pemn_formats.codecs import too_large_to_predict
from pemn_formats.content import Content, MaskedSpec
from pemn_formats.foresight import Foreseen, most_bytes

__all__ = ["LARGEST_DTYPE", "SMALLEST_DTYPE", "NetBytes", "bytes_of_a_net", "can_steer"]

SMALLEST_DTYPE, LARGEST_DTYPE = DTYPES_BY_SIZE[0], DTYPES_BY_SIZE[-1]
"""Between these a file of a budget stores what is not masked, unless a run names one dtype."""

_FEWEST_BITS, _FEWEST_BITS_OF_KERNELS = 0.7, 0.5
"""Bits a weight down to which training may steer, in general and in dense k x k convolutions, whose masks code smaller
by themselves; with fewer a smaller net is better."""

_KERNELS_SAVE, _SMALL_KERNELS_SAVE, _SMALL = 0.33, 0.08, 16
_WIDE_SAVE, _NARROW, _WIDE = 0.1, 96, 384
"""The part of their bits that learned masks save: rows resemble mixtures of other rows, neighbours in a kernel agree.

It follows the images more than the shapes, so a long run measures it (`train.trial`); these hold where nothing was
measured. Dense k x k convolutions were seen to save 0.34 to 0.53 after one to six epochs of CIFAR-10, 0.08 to 0.1 on
the digits, whose side is below 16. Other matrices of CIFAR-10 save the more the wider they are: 0.17 to 0.23 at
378 x 378, 0.03 to 0.13 at 128 x 128, nothing below. A file whose masks are too large to be predicted saves nothing."""


@dataclass(frozen=True)
class NetBytes:
    """What a net's file can take.

    `weights` are masked ones. `least` is the most that the file takes with the residual in its smallest dtype, part by
    part; `most` the whole file with it in the largest. `likely` is `least` less what learned masks save,
    `fewest` what is left when training steers as far as it may.
    """

    weights: int
    least: Foreseen
    most: int
    likely: int
    fewest: int


def bytes_of_a_net(options: RunConfig, described: Mapping[str, Any], *, saved: float | None = None) -> NetBytes:
    """Build the net of a run on the CPU, untrained, and return what its file can take.

    Args:
        options: the run; its `residual_dtype` None stands for anything from the smallest to the largest.
        described: what the network takes, as `DataSpec.to_input` gives it.
        saved: the part of their bits that the masks of such a net were seen to save; None goes by its shapes.

    Raises:
        PemnError: there is no such net, or it cannot be saved.
    """
    model = build_model(options, described)
    small = to_content(model, input=described, residual_dtype=options.residual_dtype or SMALLEST_DTYPE)
    least = most_bytes(small)
    steers = can_steer(options)
    usual = _saved_bits(small, saved, min(described["size"])) / 8 if steers else 0.0
    spared = max(usual, _fewest_saved(small) / 8) if steers else 0.0
    return NetBytes(
        weights=sum(tensor.numel for tensor in small.masked),
        least=least,
        most=most_bytes(_in(LARGEST_DTYPE, small)).file,
        likely=math.floor(least.file - usual),
        fewest=math.ceil(least.file - spared),
    )


def _in(dtype: str, content: Content) -> Content:
    """The same without values, its smallest residual entries in another dtype."""
    residual = (replace(entry, dtype=dtype) if entry.dtype == SMALLEST_DTYPE else entry for entry in content.residual)
    return replace(content, residual=tuple(residual))


def can_steer(options: RunConfig) -> bool:
    """Whether the masks' bits can be brought down in training: a learner of free density, one bit a weight."""
    return options.mask is not None and options.mask.learner == "threshold" and options.mask.alphabet != "ternary"


def _saved_bits(content: Content, measured: float | None, side: int) -> float:
    """The bits that masks usually save: the part that was measured, or what nets for images of that side have saved."""
    if not _is_predicted(content):
        return 0.0
    if measured is not None:
        return measured * sum(tensor.numel for tensor in content.masked)
    in_kernels = _KERNELS_SAVE if side >= _SMALL else _SMALL_KERNELS_SAVE
    saved = 0.0
    for tensor in content.masked:
        least = min(tensor.shape[0], tensor.numel // tensor.shape[0])
        wide = min(1.0, max(0.0, (least - _NARROW) / (_WIDE - _NARROW)))
        saved += tensor.numel * (in_kernels if _has_kernels(tensor) else _WIDE_SAVE * wide)
    return saved


def _fewest_saved(content: Content) -> float:
    """The bits that masks save when training steers as far as it may."""
    of_kernels = _FEWEST_BITS_OF_KERNELS if _is_predicted(content) else _FEWEST_BITS
    fewest = (of_kernels if _has_kernels(tensor) else _FEWEST_BITS for tensor in content.masked)
    return sum(tensor.numel * (1 - bits) for tensor, bits in zip(content.masked, fewest, strict=True))


def _is_predicted(content: Content) -> bool:
    """Whether an export will predict masks of this size, one bit a weight."""
    return not too_large_to_predict(sum(tensor.numel for tensor in content.masked))


def _has_kernels(tensor: MaskedSpec) -> bool:
    """Whether it is a dense convolution; one of pixels has too few inputs to count."""
    return math.prod(tensor.shape[2:]) > 1 and tensor.shape[1] > 4
