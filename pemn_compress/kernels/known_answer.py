"""A small reconstruction whose bytes are known, to prove a device before it is relied on."""

from __future__ import annotations

import numpy as np
import torch

from pemn_compress.kernels.reconstruct import reconstruct_many
from pemn_formats.content import Content, MaskedTensor, Prototype
from pemn_formats.reconstruct import reconstruct

__all__ = ["differences"]

_NUMEL = 20_011  # two tiles, the second one ragged


def differences(device: torch.device) -> str:
    """Return what is wrong with the kernel's answer on a device, or an empty string."""
    mask = np.arange(-(-_NUMEL // 8), dtype=np.uint8) * np.uint8(37)
    mask[-1] &= (1 << _NUMEL % 8) - 1
    tensor = MaskedTensor("known", (_NUMEL,), 0, 0, "keep", np.float32(0.1), planes=(mask,))
    content = Content(0x0123456789ABCDEF, (Prototype(_NUMEL, "signed"),), (tensor,))
    found = reconstruct_many(content, [tensor], device, torch.float16)[0].cpu().numpy()
    wrong = int((found.view(np.uint16) != reconstruct(content, tensor, "float16").view(np.uint16)).sum())
    return f"{wrong} of {_NUMEL} weights are wrong" if wrong else ""
