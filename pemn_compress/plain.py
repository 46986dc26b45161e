"""Which tensors the compiled loops may be given: by their addresses, since they know nothing of torch."""

from __future__ import annotations

import torch
from torch import nn

__all__ = ["address", "eager", "memory_order"]

_KINDS = (torch.Tensor, nn.Parameter)


def eager() -> bool:
    """Whether operations are carried out as they come: nothing compiles, transforms, traces or watches them."""
    return not (
        torch.compiler.is_compiling()
        or torch._C._are_functorch_transforms_active()
        or torch._C._len_torch_dispatch_stack()
        or torch._C._get_tracing_state()
    )


def memory_order(tensor: torch.Tensor) -> torch.memory_format:
    """Return the order of memory that `address` is to ask for: channels-last where a tensor is not contiguous."""
    return torch.contiguous_format if tensor.is_contiguous() else torch.channels_last


def address(tensor: torch.Tensor, count: int, order: torch.memory_format = torch.contiguous_format) -> int:
    """Return where `count` float32 lie in a row in the CPU's memory, or 0 if a tensor is anything but that.

    Tensors of one shape and order have the same element in the same place. To be asked where `eager`. What `vmap`
    batches has no storage.
    """
    plain = (
        type(tensor) in _KINDS
        and tensor.is_cpu
        and tensor.dtype is torch.float32
        and torch._C._has_storage(tensor)
        and tensor.is_contiguous(memory_format=order)
        and not tensor.is_neg()
        and tensor.numel() == count
    )
    return tensor.data_ptr() if plain else 0
