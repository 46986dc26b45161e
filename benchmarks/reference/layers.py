"""Masked layers: fixed normal values, and the upper half of the scores' magnitudes by a full sort."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["MaskedConv2d", "MaskedLinear", "share_values", "upper_half"]


class _UpperHalf(torch.autograd.Function):
    """1 at the upper half of the scores, else 0; the gradient passes straight through."""

    @staticmethod
    def forward(ctx: Any, scores: Tensor) -> Tensor:
        mask = scores.clone()
        order = scores.flatten().sort().indices
        lower = int(0.5 * scores.numel())
        flat = mask.flatten()
        flat[order[:lower]] = 0
        flat[order[lower:]] = 1
        return flat.view(scores.shape)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        return grads[0]


def upper_half(scores: Tensor) -> Tensor:
    """Return 1 where a score is in the upper half of the magnitudes, else 0, in the scores' shape."""
    mask: Tensor = _UpperHalf.apply(scores.abs())
    return mask


class _Masked(nn.Module):
    weight: Tensor
    scores: nn.Parameter

    def fill(self, shape: tuple[int, ...]) -> None:
        """Draw Kaiming-normal values, which stay, and Kaiming-uniform scores, which are learned."""
        values, scores = torch.empty(shape), torch.empty(shape)
        nn.init.kaiming_normal_(values, mode="fan_in", nonlinearity="relu")
        nn.init.kaiming_uniform_(scores, a=math.sqrt(5))
        self.register_buffer("weight", values)
        self.scores = nn.Parameter(scores)

    def masked(self) -> Tensor:
        return self.weight * upper_half(self.scores)


class MaskedConv2d(_Masked):
    """A convolution without bias."""

    def __init__(
        self, channels: int, out: int, kernel: int, *, stride: int = 1, groups: int = 1, padding: str = "valid"
    ) -> None:
        super().__init__()
        self._options: dict[str, Any] = {"stride": stride, "groups": groups, "padding": padding}
        self.fill((out, channels // groups, kernel, kernel))

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.masked(), **self._options)


class MaskedLinear(_Masked):
    """A linear layer without bias."""

    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        self.fill((out, channels))

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.masked())


def share_values(net: nn.Module, strategy: str, ratio: float | None = None) -> None:
    """Let the layers of a net share values, unscaled: `full` (none), `one-layer`, `mp`, or `rp` with a ratio."""
    layers = [module for module in net.modules() if isinstance(module, _Masked)]
    if strategy == "one-layer":
        first: dict[torch.Size, Tensor] = {}
        for layer in layers:
            if isinstance(layer, MaskedConv2d):
                layer.weight.copy_(first.setdefault(layer.weight.shape, layer.weight))
    elif strategy in ("mp", "rp"):
        longest = max((layer.weight.flatten() for layer in layers), key=len)
        values = longest.clone()
        if ratio is not None:
            length = int(len(values) * ratio) + 1
            values = values[:length]
            values = values.repeat(math.ceil(len(longest) / length))[: len(longest)]
        for layer in layers:
            layer.weight.copy_(values[: layer.weight.numel()].view(layer.weight.shape))
