"""The shapes of net that a plan tries: for each family the argument that makes it wider, and everything else.

The order of the shapes is a rule. Only for `resnet` was it measured which depth learns most in a number of bytes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from pemn_compress.models.arguments import Value

__all__ = ["FAMILIES", "Family"]

Shape = dict[str, Value]


@dataclass(frozen=True)
class Family:
    """A registered net whose size a plan can choose.

    `width` names the argument that is made as large as fits; `shapes(budget, side)` gives the other arguments for a
    number of bytes and images of `side` pixels, the preferred ones first; `settle` turns a width into arguments.
    """

    name: str
    width: str
    shapes: Callable[[int, int], list[Shape]]
    settle: Callable[[int, Mapping[str, Value]], Shape] | None = None

    def at(self, width: int, shape: Mapping[str, Value]) -> Shape:
        """The arguments of the net of at most this width."""
        settled = self.settle(width, shape) if self.settle else {self.width: width}
        return {**shape, **settled}


def _near(preferred: int, known: range) -> list[int]:
    """Whole numbers of a range, those near the preferred one first, of equals the larger."""
    return sorted(known, key=lambda number: (abs(number - preferred), -number))


def _blocks(budget: int) -> int:
    """How deep a net of blocks is: 4 blocks at 4 kB, 6 at 12 kB, 7 at 33 kB, 8 from 60 kB on.

    Between nets of random weights, width beats depth at equal bits (the paper: 512 x 6 beats 256 x 8), so that depth
    grows with the logarithm of the bytes. That is a rule of thumb: no depths were compared at equal bytes.
    """
    return min(8, max(2, round(math.log2(budget / 256))))


def _convmixer(budget: int, side: int) -> list[Shape]:
    patch = max(1, round(side / 16))
    kernel = 5 if side // patch >= 8 else 3
    depths = [depth for depth in _near(_blocks(budget), range(1, 13)) if abs(depth - _blocks(budget)) <= 2]
    return [{"depth": depth, "kernel": kernel, "patch": patch} for depth in depths]


def _resnet(budget: int, side: int) -> list[Shape]:
    """Validation accuracy on CIFAR-10 (JPEG, 15,000 images x 6 epochs) in percent: 62.0 with depth 14 and 61.4 with
    depth 8 at 12 kB, 67.2 and 65.8 at 33 kB, 69.8 and 68.0 at 66 kB. Deeper ones were not tried; 14 in less than 6 kB
    leaves few channels.
    """
    preferred = 8 if budget < 6_000 else 14
    return [{"depth": depth} for depth in sorted((8, 14, 20, 32), key=lambda depth: abs(depth - preferred))]


def _vit(budget: int, side: int) -> list[Shape]:
    patch = next(each for each in range(max(1, side // 8), side + 1) if side % each == 0)
    depths = [depth for depth in _near(min(6, _blocks(budget)), range(1, 9)) if abs(depth - 6) <= 5]
    return [{"depth": depth, "patch": patch} for depth in depths[:5]]


def _mlp(budget: int, side: int) -> list[Shape]:
    return [{"depth": depth} for depth in (2, 1, 3)]


_HEAD_CHANNELS = 32


def _heads(width: int, shape: Mapping[str, Value]) -> Shape:
    """The widest net of at most `width` channels that some 2 to 8 heads divide; of equals, heads near 32 channels."""
    if "heads" in shape:
        heads = int(shape["heads"])
        return {"dim": width // heads * heads or heads}
    found = [(width // heads * heads, heads) for heads in range(2, 9) if width >= heads]
    dim, heads = max(found, key=lambda pair: (pair[0], -abs(pair[0] / pair[1] - _HEAD_CHANNELS)), default=(1, 1))
    return {"dim": dim, "heads": heads}


FAMILIES: Mapping[str, Family] = {
    family.name: family
    for family in (
        Family("convmixer", "dim", _convmixer),
        Family("resnet", "width", _resnet),
        Family("vit", "dim", _vit, _heads),
        Family("mlp", "hidden", _mlp),
    )
}
"""Families by the name of their model."""
