"""Which tensors the compiled loops may be given: by their addresses, since they know nothing of torch."""

from __future__ import annotations

import torch
from torch import nn

__all__ = ["addresses", "eager", "has_storage"]

_KINDS = (torch.Tensor, nn.Parameter)
has_storage = torch._C._has_storage
"""Whether a tensor has memory of its own: what `vmap` batches has none."""


def eager() -> bool:
    """Whether operations are carried out as they come: nothing compiles, transforms, traces or watches them."""
    return not (
        torch.compiler.is_compiling()
        or torch._C._are_functorch_transforms_active()
        or torch._C._len_torch_dispatch_stack()
        or torch._C._get_tracing_state()
    )


def addresses(*tensors: torch.Tensor) -> tuple[int, ...]:
    """Return where equally many float32 of each lie in a row in the CPU's memory, all in one order; or ().

    That order is C's or channels-last: tensors of one shape then have the same element in the same place. To be asked
    where `eager`.
    """
    first = tensors[0]
    count, in_order = first.numel(), None
    for tensor in tensors:
        if not (
            type(tensor) in _KINDS
            and tensor.is_cpu
            and tensor.dtype is torch.float32
            and has_storage(tensor)
            and tensor.numel() == count
            and not tensor.is_neg()
        ):
            return ()
        if in_order is None:
            in_order = tensor.is_contiguous()
        if not (tensor.is_contiguous() if in_order else tensor.is_contiguous(memory_format=torch.channels_last)):
            return ()
    places = tuple([tensor.data_ptr() for tensor in tensors])
    return places if all(places) else ()
