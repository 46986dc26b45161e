"""A parameter of any module that is held packed, and dense only while it is looked at."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn.utils import parametrize

from pemn_compress.packed_layers import PackedTensor
from pemn_compress.packed_weight import PackedWeight

__all__ = ["PackedParameter", "hold_in_attention_", "pack_parameter_"]

# They look at a weight several times in one forward pass.
_LOOK_OFTEN = (nn.MultiheadAttention, nn.TransformerEncoderLayer)


class PackedParameter(PackedTensor):
    """A parametrization that gives the dense weight, in the dtype of the empty parameter that it stands on."""

    def __init__(self, weight: PackedWeight) -> None:
        super().__init__(weight)
        self.holds = False
        self.held: torch.Tensor | None = None

    def forward(self, dtype_of: torch.Tensor) -> torch.Tensor:
        """Return the weight: expanded now, or earlier in the pass of a module that holds it."""
        held = self.held
        if held is None:
            held = self.expand(dtype_of.dtype)
            if self.holds:
                self.held = held
        return held


def pack_parameter_(module: nn.Module, name: str, weight: PackedWeight, dtype: torch.dtype) -> None:
    """Hold a module's parameter packed, in place: reading it expands it, in the dtype that the module is moved to."""
    like = torch.empty(0, dtype=dtype, device=weight.scale.device)
    setattr(module, name, nn.Parameter(like, requires_grad=False))
    # unsafe: the value has another shape than what it is made from.
    parametrize.register_parametrization(module, name, PackedParameter(weight), unsafe=True)


def hold_in_attention_(model: nn.Module) -> None:
    """Let every attention layer expand each of its packed parameters once a forward pass, and free them after it."""
    for module in model.modules():
        if isinstance(module, _LOOK_OFTEN) and any(isinstance(part, PackedParameter) for part in module.modules()):
            module.register_forward_pre_hook(_hold)
            module.register_forward_hook(_free, always_call=True)


def _hold(module: nn.Module, _: Any) -> None:
    for part in module.modules():
        if isinstance(part, PackedParameter):
            part.holds = True


def _free(module: nn.Module, _: Any, __: Any) -> None:
    for part in module.modules():
        if isinstance(part, PackedParameter):
            part.holds, part.held = False, None
