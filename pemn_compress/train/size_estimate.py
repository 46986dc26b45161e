"""How large an export would be, foreseen from a model in training."""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from pemn_compress.layers import dense_weights
from pemn_compress.masking import masked_weights
from pemn_compress.saving import to_content
from pemn_formats.content import LOG8
from pemn_formats.errors import PemnError
from pemn_formats.native import compiled
from pemn_formats.writer import encode

__all__ = ["MaskCount", "count_masks", "estimate_bytes", "foresee_bytes", "mask_bits"]

# Weights whose masks are coded to know their bytes, which takes a second or two: with the compiled loops, and in numpy.
_MOST_CODED, _MOST_CODED_IN_NUMPY = 1 << 24, 1 << 16

# Measured on files of nine nets: what the codecs leave of the header, of float16 values and of a vector's values.
_HEADER = 520
_PER_TENSOR = 2
_RESIDUAL_VALUE = {"float16": 1.9, LOG8: 0.97, "float32": 3.7}
_LOG8_VECTOR = 5
_HALF_VALUE = 1.9
_INT8_VALUE = 0.95
_VECTOR_VALUE = {"signed": 0.25, "normal": 1.75, "uniform": 3.75}


@dataclasses.dataclass(frozen=True)
class MaskCount:
    """What the codes of one masked tensor add up to; `negative` is 0 except for ternary codes."""

    name: str
    count: int
    nonzero: int
    negative: int

    @property
    def density(self) -> float:
        """The fraction of codes that are not 0 (for `sign`: that are +)."""
        return self.nonzero / self.count


@torch.no_grad()
def count_masks(model: nn.Module) -> list[MaskCount]:
    """Count the codes of every masked tensor."""
    counts = []
    for name, weight, score in masked_weights(model):
        code = weight.code(score)
        counts.append(MaskCount(name, code.numel(), int(code.count_nonzero()), int((code < 0).sum())))
    return counts


def mask_bits(count: MaskCount) -> float:
    """The Shannon bound of one mask as independent codes of its own frequencies, in bits."""
    return _entropy(count.nonzero, count.count) + _entropy(count.negative, count.nonzero)


def foresee_bytes(
    model: nn.Module,
    masks: Sequence[MaskCount],
    residual_dtype: str = "float16",
    *,
    described: Mapping[str, Any] | None = None,
) -> int:
    """Bytes of the `.pemn` file that an export would write now; an estimate where that takes long or cannot be.

    `described` is what the network takes, as `DataSpec.to_input` gives it.
    """
    most = _MOST_CODED_IN_NUMPY if compiled() is None else _MOST_CODED
    if masks and sum(mask.count for mask in masks) <= most:
        with contextlib.suppress(PemnError):
            return len(encode(to_content(model, input=described, residual_dtype=residual_dtype)))
    return estimate_bytes(model, masks, residual_dtype)


def estimate_bytes(model: nn.Module, masks: Sequence[MaskCount], residual_dtype: str = "float16") -> int:
    """Bytes of the `.pemn` file: masks as independent bits, which learned ones undercut, residual in a dtype, header.

    BatchNorm counts as folded, two numbers a channel. Without masks: the bytes of a dense float32 checkpoint.
    """
    if not masks:
        return sum(value.numel() * value.element_size() for value in model.state_dict().values())
    bits = sum(math.ceil(mask_bits(mask) / 8) for mask in masks)
    elsewhere = {id(part) for _, weight, score in masked_weights(model) for part in (score, weight.vector)}
    residual, entries = _residual(model, elsewhere, residual_dtype)
    header = _HEADER + _PER_TENSOR * (len(masks) + entries)
    return round(header + bits + residual + _vector_bytes(model))


def _entropy(part: int, whole: int) -> float:
    """Bits of `whole` symbols of which `part` are of one kind."""
    if part in (0, whole):
        return 0.0
    p = part / whole
    return -whole * (p * math.log2(p) + (1 - p) * math.log2(1 - p))


def _residual(model: nn.Module, elsewhere: set[int], dtype: str) -> tuple[float, int]:
    """Bytes of what is stored densely, and in how many entries; what is counted `elsewhere` is left out."""
    in_int8 = dense_weights(model, masked_weights(model)[0][1].config.int8_layers)
    sizes: list[float] = []

    def floats(count: int, vectors: int = 1) -> float:
        return _RESIDUAL_VALUE[dtype] * count + (_LOG8_VECTOR * vectors if dtype == LOG8 else 0)

    for module in model.modules():
        if isinstance(module, _BatchNorm) and module.running_mean is not None:
            sizes.append(floats(2 * module.num_features, 2))
            continue
        for value in module.parameters(recurse=False):
            if id(value) in in_int8:
                sizes.append(_INT8_VALUE * value.numel() + _HALF_VALUE * len(value))
            elif id(value) not in elsewhere:
                sizes.append(floats(value.numel()))
        saved = module.state_dict(keep_vars=True)
        sizes += [floats(value.numel()) for name, value in module.named_buffers(recurse=False) if name in saved]
    return sum(sizes), len(sizes)


def _vector_bytes(model: nn.Module) -> float:
    """Bytes of the prototypes that the file carries; 0 when it carries a seed."""
    used: dict[int, float] = {}
    for _, weight, _ in masked_weights(model):
        if weight.config.store == "vector":
            length = weight.plan.prototypes[weight.fill.prototype].length
            learned = weight.config.learn_values
            each = _HALF_VALUE if learned else _VECTOR_VALUE[weight.config.distribution]
            used[weight.fill.prototype] = length * each
    return sum(used.values())
