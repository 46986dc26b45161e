"""Layers that compute with packed masks: one bit a weight in memory, no dense weights kept."""

from __future__ import annotations

import torch
from torch import nn

from pemn_compress.packed_op import packed_linear, packed_weight
from pemn_compress.packed_weight import PackedWeight

__all__ = ["PackedConv1x1", "PackedLinear", "PackedTensor", "has_twin", "packed_twin"]


class PackedTensor(nn.Module):
    """A packed weight as buffers, and the way to its dense value.

    keep, flip: packed bits, uint8, which weights are not zero and which are negated; one of them may be missing.
    values: a short table, uint8 or int32. scale: the bits of one float32 or of one for each output channel, held as
    int32 so that `model.half()` leaves them alone.
    """

    keep: torch.Tensor | None
    flip: torch.Tensor | None
    values: torch.Tensor | None
    scale: torch.Tensor

    def __init__(self, weight: PackedWeight) -> None:
        super().__init__()
        self.shape: tuple[int, ...] = weight.shape
        self.source = (weight.source, weight.seed, weight.stream, weight.length, weight.span)
        for name in ("keep", "flip", "values", "scale"):
            self.register_buffer(name, getattr(weight, name))

    def expand(self, dtype: torch.dtype = torch.float32) -> torch.Tensor:
        """Return the dense weight in its shape, rounded once to `dtype`, made anew at every call."""
        scale = self.scale.view(torch.float32)
        weight: torch.Tensor = packed_weight(self.keep, self.flip, self.values, scale, self.shape, *self.source, dtype)
        return weight

    def extra_repr(self) -> str:
        """Name what print(model) should show."""
        held = sum(buffer.nbytes for buffer in self.buffers())
        return f"shape={self.shape}, values={self.source[0]}, {held} bytes"


class PackedLinear(PackedTensor):
    """`nn.Linear` over a packed weight, for inference: no gradient flows through it."""

    def __init__(self, weight: PackedWeight, bias: torch.Tensor | None) -> None:
        super().__init__(weight)
        self.bias = bias

    @property
    def weight(self) -> torch.Tensor:
        """The dense weight in float32, expanded anew at every access; for code that looks at it."""
        return self.expand()

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return inputs @ weight.T + bias, (..., in) to (..., out), in the inputs' dtype or that of autocast."""
        if torch.is_autocast_enabled(inputs.device.type):
            inputs = inputs.to(torch.get_autocast_dtype(inputs.device.type))
        scale = self.scale.view(torch.float32)
        out: torch.Tensor = packed_linear(
            inputs, self.keep, self.flip, self.values, scale, self.bias, self.shape[0], *self.source
        )
        return out

    def extra_repr(self) -> str:
        """Name what print(model) should show."""
        return f"{super().extra_repr()}, bias={self.bias is not None}"


class PackedConv1x1(PackedLinear):
    """A 1x1 `nn.Conv2d` over a packed weight, for inference: a linear map of every pixel."""

    def __init__(self, weight: PackedWeight, bias: torch.Tensor | None, stride: tuple[int, int] = (1, 1)) -> None:
        super().__init__(weight, bias)
        self.stride = stride

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return the convolution of (n, in, h, w), or (in, h, w), with the weight."""
        down, across = self.stride
        pixels = inputs[..., ::down, ::across].movedim(-3, -1)
        return super().forward(pixels).movedim(-1, -3)


def has_twin(module: nn.Module) -> bool:
    """Say whether a packed layer can stand for a plain one: a linear layer, or an ungrouped 1x1 convolution."""
    # Subclasses may use their weight in ways of their own (nn.MultiheadAttention's out_proj is one), and hooks are the
    # module's own.
    if module._forward_hooks or module._forward_pre_hooks:
        return False
    if type(module) is nn.Conv2d:
        plain = module.kernel_size == (1, 1) and module.groups == 1
        return plain and module.padding in ((0, 0), "valid", "same")
    return type(module) is nn.Linear


def packed_twin(module: nn.Module, weight: PackedWeight) -> PackedLinear:
    """Return the packed layer that stands for a plain one (see `has_twin`), sharing its bias."""
    if isinstance(module, nn.Conv2d):
        return PackedConv1x1(weight, module.bias, (module.stride[0], module.stride[1]))
    return PackedLinear(weight, module.bias if isinstance(module, nn.Linear) else None)
