"""Whether one of torch's function transforms (`grad`, `vmap`, `jvp`...) is running."""

from __future__ import annotations

import torch

__all__ = ["transforming"]


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]  # compiled code is guarded by it
def transforming() -> bool:
    """Whether tensors may be the stand-ins that `torch.func` hands to a function: they have no memory of their own."""
    return torch._C._are_functorch_transforms_active()
