"""Strategies: which prototype fills which tensor, and at which scale."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pemn_compress.config import MaskConfig
from pemn_formats.errors import PemnError
from pemn_formats.values import UNIT_STD

__all__ = ["Fill", "Plan", "PrototypePlan", "TensorInfo", "kaiming_scale", "plan"]


@dataclass(frozen=True)
class TensorInfo:
    """A tensor to mask: its full name, its shape, and the inputs that one output sums (`fan_in`)."""

    name: str
    shape: tuple[int, ...]
    fan_in: int

    @property
    def numel(self) -> int:
        """Number of weights."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class PrototypePlan:
    """A vector of unit values: its length, and the scale of the tensor that it was drawn for."""

    length: int
    scale: np.float32


@dataclass(frozen=True)
class Fill:
    """How one tensor is filled: index of its prototype, span of the permutation (0 tiles), scale."""

    prototype: int
    span: int
    scale: np.float32


@dataclass(frozen=True)
class Plan:
    """The prototypes of a model, and one fill for each masked tensor in order."""

    prototypes: tuple[PrototypePlan, ...]
    fills: tuple[Fill, ...]


def kaiming_scale(fan_in: int, distribution: str) -> np.float32:
    """Return the scale that gives unit values Kaiming's standard deviation sqrt(2 / fan_in) (He et al. 2015)."""
    unit_std: float = UNIT_STD[distribution]
    scale: np.float32 = np.float32(math.sqrt(2.0 / fan_in) / unit_std)
    return scale


def plan(tensors: Sequence[TensorInfo], config: MaskConfig) -> Plan:
    """Return prototypes and fills of the masked tensors, in the order of `named_modules()`.

    The strategies are the paper's (Bai et al. 2022, section 3). Raises `PemnError` when there is no tensor.
    """
    if not tensors:
        raise PemnError("a plan needs at least one tensor, found none")
    largest = max(tensors, key=lambda tensor: tensor.numel)  # the first of equals
    if config.strategy == "full":
        origins, owner = list(tensors), list(range(len(tensors)))
    elif config.strategy == "one-layer":
        first = {tensor.shape: tensor for tensor in reversed(tensors)}
        shapes = list(dict.fromkeys(tensor.shape for tensor in tensors))
        origins, owner = [first[shape] for shape in shapes], [shapes.index(tensor.shape) for tensor in tensors]
    else:
        origins, owner = [largest], [0] * len(tensors)
    rp = config.strategy == "rp"
    span = largest.numel if rp and config.mode == "rand" else 0
    prototypes = tuple(
        PrototypePlan(
            length=config.vector_length(origin.numel) if rp else origin.numel,
            scale=kaiming_scale(origin.fan_in, config.distribution),
        )
        for origin in origins
    )
    own = config.scale != "none"
    return Plan(
        prototypes=prototypes,
        fills=tuple(
            Fill(p, span, kaiming_scale(tensor.fan_in, config.distribution) if own else prototypes[p].scale)
            for tensor, p in zip(tensors, owner, strict=True)
        ),
    )
