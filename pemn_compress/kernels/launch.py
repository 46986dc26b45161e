"""What every launch of a kernel needs; nothing here imports Triton."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch

__all__ = ["as_signed", "on_device"]


def on_device(device: torch.device) -> AbstractContextManager[object]:
    """Return a context in which Triton launches on a device, since it takes CUDA's current one, not a tensor's."""
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()


def as_signed(seed: int) -> int:
    """Return the signed number with the 64 bits of a seed, which is what a kernel can be given."""
    return seed - (seed >> 63 << 64)
