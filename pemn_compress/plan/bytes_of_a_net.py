"""What the file of a net will take, known before it is trained."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from pemn_compress.config import MaskConfig
from pemn_compress.saving import to_content
from pemn_compress.train.building import build_model
from pemn_compress.train.run_config import RunConfig
from pemn_compress.within import DTYPES_BY_SIZE
from pemn_formats.codecs import too_large_to_predict
from pemn_formats.content import Content, MaskedSpec
from pemn_formats.foresight import Foreseen, most_bytes, most_mask_bytes

__all__ = ["LARGEST_DTYPE", "SMALLEST_DTYPE", "NetBytes", "bytes_of_a_net", "can_steer"]

SMALLEST_DTYPE, LARGEST_DTYPE = DTYPES_BY_SIZE[0], DTYPES_BY_SIZE[-1]
"""Between these a file of a budget stores what is not masked, unless a run names one dtype."""

_FEWEST_BITS, _FEWEST_BITS_OF_KERNELS, _FEWEST_BITS_OF_TERNARY = 0.7, 0.5, 1.1
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
    part; `most` the whole file with it in the largest. `likely` is what it takes when learned masks save what they
    usually do, `fewest` what is left when training steers as far as it may.
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
        saved: how many bits a weight the masks of such a net were seen to save of those that they take as they stand;
            None goes by its shapes.

    Raises:
        PemnError: there is no such net, or it cannot be saved.
    """
    model = build_model(options, described)
    small = to_content(model, input=described, residual_dtype=options.residual_dtype or SMALLEST_DTYPE)
    plain = most_bytes(small)
    large = plain if options.residual_dtype else most_bytes(_in(LARGEST_DTYPE, small))
    masks = _most_of_masks(small, options.mask or MaskConfig(), plain.masks)
    likely = fewest = plain.file - plain.masks + masks
    if can_steer(options):
        usual = plain.masks - _saved_bits(small, saved, min(described["size"])) / 8
        exact = most_bytes(small, varying=False)
        likely = math.floor(exact.file - exact.masks + min(masks, usual))
        fewest = math.ceil(plain.file - plain.masks + min(masks, usual, _fewest_bits(small) / 8))
    return NetBytes(
        weights=sum(tensor.numel for tensor in small.masked),
        least=replace(plain, masks=masks),
        most=large.file - large.masks + masks,
        likely=likely,
        fewest=fewest,
    )


def _most_of_masks(content: Content, mask: MaskConfig, plain: int) -> int:
    """The bytes that masks take at most: `plain`, as they stand, or fewer where their density is known.

    The coder comes within 2 % and some bytes a tensor of the entropy of independent codes; masks of one density over
    all tensors have the most where each tensor has it, and ternary ones with a third of each code.
    """
    ternary, free = mask.alphabet == "ternary", mask.learner == "threshold"
    if too_large_to_predict(8 * plain) or (free and not ternary):
        return plain
    part = 2 / 3 if free else mask.density
    each = -part * math.log2(part) - (1 - part) * math.log2(1 - part) + (part if ternary else 0.0)
    bits = each * sum(tensor.numel for tensor in content.masked)
    return min(plain, math.ceil(1.02 * bits / 8) + 48 + 6 * len(content.masked))


def _in(dtype: str, content: Content) -> Content:
    """The same without values, its smallest residual entries in another dtype."""
    residual = (replace(entry, dtype=dtype) if entry.dtype == SMALLEST_DTYPE else entry for entry in content.residual)
    return replace(content, residual=tuple(residual))


def can_steer(options: RunConfig) -> bool:
    """Whether the masks' bits can be brought down in training: a learner of free density."""
    return options.mask is not None and options.mask.learner == "threshold"


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


def _fewest_bits(content: Content) -> float:
    """The bits that masks take when training steers as far as it may."""
    of_kernels = _FEWEST_BITS_OF_KERNELS if _is_predicted(content) else _FEWEST_BITS

    def each(tensor: MaskedSpec) -> float:
        if tensor.alphabet == "ternary":
            return _FEWEST_BITS_OF_TERNARY
        return of_kernels if _has_kernels(tensor) else _FEWEST_BITS

    return sum(tensor.numel * each(tensor) for tensor in content.masked)


def _is_predicted(content: Content) -> bool:
    """Whether an export will predict masks of this size."""
    return not too_large_to_predict(8 * most_mask_bytes(content))


def _has_kernels(tensor: MaskedSpec) -> bool:
    """Whether it is a dense convolution; one of pixels has too few inputs to count."""
    return math.prod(tensor.shape[2:]) > 1 and tensor.shape[1] > 4
