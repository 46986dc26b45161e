"""A multilayer perceptron over flattened square images."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn

from pemn_compress.models.arguments import Definition, Flag, Integer, Value
from pemn_formats.errors import PemnError

__all__ = ["MLP", "MLP_NET"]

MAX_INPUTS = 1 << 24


class Layer(nn.Module):
    """Linear, BatchNorm (or a bias instead), ReLU."""

    def __init__(self, inputs: int, outputs: int, norm: bool) -> None:
        super().__init__()
        self.fc = nn.Linear(inputs, outputs, bias=not norm)
        self.bn = nn.BatchNorm1d(outputs) if norm else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Map [n, inputs] to [n, outputs]."""
        return F.relu(self.bn(self.fc(x)))


class MLP(nn.Module):
    """`depth` hidden layers of `hidden` units, then a linear head."""

    def __init__(self, image: int, channels: int, hidden: int, depth: int, classes: int, norm: bool) -> None:
        super().__init__()
        widths = [channels * image * image, *[hidden] * depth]
        self.layers = nn.Sequential(*(Layer(a, b, norm) for a, b in pairwise(widths)))
        self.head = nn.Linear(widths[-1], classes)

    def forward(self, x: Tensor) -> Tensor:
        """Map images [n, channels, image, image] to logits [n, classes]."""
        y: Tensor = self.head(self.layers(x.flatten(1)))
        return y


def _relate(args: Mapping[str, Value]) -> None:
    inputs = int(args["channels"]) * int(args["image"]) ** 2
    if inputs > MAX_INPUTS:
        raise PemnError(f"model mlp: {inputs:,} inputs; the most is {MAX_INPUTS:,}: choose smaller images")


MLP_NET = Definition(
    "mlp",
    {
        "image": Integer(32, 1, 1_024),
        "channels": Integer(3, 1, 1_024),
        "hidden": Integer(256, 1, 65_536),
        "depth": Integer(2, 1, 256),
        "classes": Integer(10, 1, 1_000_000),
        "norm": Flag(True),
    },
    MLP,
    _relate,
)
