"""ResNet for 32x32 images (He et al. 2016, section 4.2): three stages, parameter-free shortcuts (option A)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pemn_compress.models.arguments import Definition, Integer, Value
from pemn_formats.errors import PemnError

__all__ = ["RESNET", "ResNet"]


class Block(nn.Module):
    """Two 3x3 convolutions and a shortcut: the identity, or every second pixel padded with zero channels."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.stride = stride
        self.added = outputs - inputs

    def forward(self, x: Tensor) -> Tensor:
        """Map [n, inputs, h, w] to [n, outputs, ceil(h / stride), ceil(w / stride)]."""
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        if self.stride != 1:
            before = self.added // 2
            x = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, before, self.added - before))
        return F.relu(y + x)


def _stage(inputs: int, outputs: int, blocks: int, stride: int) -> nn.Sequential:
    first = Block(inputs, outputs, stride)
    return nn.Sequential(first, *(Block(outputs, outputs, 1) for _ in range(blocks - 1)))


class ResNet(nn.Module):
    """A 3x3 convolution, three stages of `(depth - 2) / 6` blocks at width, 2 width and 4 width, a linear head."""

    def __init__(self, depth: int, width: int, classes: int, channels: int) -> None:
        super().__init__()
        blocks = (depth - 2) // 6
        self.conv = nn.Conv2d(channels, width, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(width)
        self.s1 = _stage(width, width, blocks, 1)
        self.s2 = _stage(width, 2 * width, blocks, 2)
        self.s3 = _stage(2 * width, 4 * width, blocks, 2)
        self.head = nn.Linear(4 * width, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Map images [n, channels, h, w] to logits [n, classes]."""
        x = self.s3(self.s2(self.s1(F.relu(self.bn(self.conv(x))))))
        y: Tensor = self.head(torch.mean(x, dim=(2, 3)))
        return y


def _relate(args: Mapping[str, Value]) -> None:
    if int(args["depth"]) % 6 != 2:
        raise PemnError(f"model resnet: depth is {args['depth']}; expected 6n + 2, such as 20, 32, 44, 56")


RESNET = Definition(
    "resnet",
    {
        "depth": Integer(20, 8, 1_202),
        "width": Integer(16, 1, 4_096),
        "classes": Integer(10, 1, 1_000_000),
        "channels": Integer(3, 1, 1_024),
    },
    ResNet,
    _relate,
)
