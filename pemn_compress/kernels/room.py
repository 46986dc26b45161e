"""Memory that the kernels can write to; nothing here imports Triton."""

from __future__ import annotations

import torch

from pemn_formats.content import MaskedSpec

__all__ = ["takes_stores", "with_room"]

_ROW = 8  # weights that a kernel writes at once
_ALIGNMENT = 16  # bytes, of what it writes to


def with_room(tensor: MaskedSpec, dtype: torch.dtype, device: torch.device | str) -> torch.Tensor:
    """Return a tensor without values, in whose memory the last eight weights end where the kernel's stores end."""
    if tensor.numel % _ROW == 0:
        return torch.empty(tensor.shape, dtype=dtype, device=device)
    return torch.empty(-(-tensor.numel // _ROW) * _ROW, dtype=dtype, device=device)[: tensor.numel].view(tensor.shape)


def takes_stores(place: torch.Tensor, dtype: torch.dtype) -> bool:
    """Say whether the kernel can write a tensor where it lies: in rows of eight weights, aligned, none beyond it."""
    fits = place.dtype == dtype and place.is_contiguous() and place.numel() % _ROW == 0
    return fits and place.data_ptr() % _ALIGNMENT == 0
