"""ConvMixer (Trockman and Kolter 2022, arXiv 2201.09792) as the PEMN reference builds it: no biases anywhere."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from pemn_compress.models.arguments import Choice, Definition, Flag, Integer, Value
from pemn_formats.errors import PemnError

__all__ = ["CONVMIXER", "ConvMixer"]


def _activation(name: str) -> nn.Module:
    return nn.GELU() if name == "gelu" else nn.ReLU()


class Block(nn.Module):
    """Depthwise convolution with a skip, then a pointwise one; each followed by activation and BatchNorm."""

    def __init__(self, dim: int, kernel: int, activation: str, affine: bool) -> None:
        super().__init__()
        self.dw = nn.Conv2d(dim, dim, kernel, padding=kernel // 2, groups=dim, bias=False)
        self.bn1 = nn.BatchNorm2d(dim, affine=affine)
        self.pw = nn.Conv2d(dim, dim, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(dim, affine=affine)
        self.act = _activation(activation)

    def forward(self, x: Tensor) -> Tensor:
        """Map [n, dim, h, w] to the same shape."""
        x = x + self.bn1(self.act(self.dw(x)))
        y: Tensor = self.bn2(self.act(self.pw(x)))
        return y


class ConvMixer(nn.Module):
    """Patches, `depth` mixing blocks at one resolution, average pool, linear head."""

    def __init__(
        self, dim: int, depth: int, kernel: int, patch: int, classes: int, channels: int, activation: str, affine: bool
    ) -> None:
        super().__init__()
        self.patch = nn.Conv2d(channels, dim, patch, stride=patch, bias=False)
        self.bn = nn.BatchNorm2d(dim, affine=affine)
        self.act = _activation(activation)
        self.blocks = nn.Sequential(*(Block(dim, kernel, activation, affine) for _ in range(depth)))
        self.head = nn.Linear(dim, classes, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map images [n, channels, h, w] to logits [n, classes]."""
        x = self.blocks(self.bn(self.act(self.patch(x))))
        y: Tensor = self.head(torch.mean(x, dim=(2, 3)))
        return y


def _relate(args: Mapping[str, Value]) -> None:
    if int(args["kernel"]) % 2 == 0:
        raise PemnError(f"model convmixer: kernel is {args['kernel']}; expected an odd number")


CONVMIXER = Definition(
    "convmixer",
    {
        "dim": Integer(256, 1, 16_384),
        "depth": Integer(8, 1, 256),
        "kernel": Integer(5, 1, 63),
        "patch": Integer(2, 1, 64),
        "classes": Integer(10, 1, 1_000_000),
        "channels": Integer(3, 1, 1_024),
        "activation": Choice("gelu", ("gelu", "relu")),
        "affine": Flag(True),
    },
    ConvMixer,
    _relate,
)
