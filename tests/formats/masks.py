"""Masks with the structure of learned ones."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from pemn_formats.bits import pack
from pemn_formats.content import Content, MaskedTensor, Prototype
from pemn_formats.reconstruct import base


def smooth(shape: tuple[int, ...], alphabet: str = "keep", seed: int = 0, noise: float = 0.1) -> Content:
    """A tensor of kernels whose kept weights mostly have one sign each."""
    rng = np.random.default_rng(seed)
    numel, window = int(np.prod(shape)), int(np.prod(shape[2:]))
    tensor = MaskedTensor("w", shape, 0, 0, alphabet, np.float32(1.0))
    content = Content(seed, (Prototype(numel, "signed"),), (tensor,))
    side = np.repeat(rng.choice((-1.0, 1.0), numel // window), window)
    bits = (base(content, tensor) == side) ^ (rng.random(numel) < noise)
    return replace(content, masked=(replace(tensor, planes=(pack(bits),)),))


def mixtures(rows: int, columns: int, alphabet: str = "keep", rank: int = 2, seed: int = 0) -> Content:
    """A matrix whose kept weights have the signs of mixtures of a few rows, as learned layers do; ternary: some."""
    rng = np.random.default_rng(seed)
    wanted = (rng.standard_normal((rows, rank)) @ rng.standard_normal((rank, columns))).reshape(-1)
    tensor = MaskedTensor("w", (rows, columns), 0, 0, alphabet, np.float32(1.0), 1 if alphabet == "ternary" else None)
    content = Content(seed, (Prototype(rows * columns, "signed"),), (tensor,))
    agrees = (base(content, tensor) > 0) == (wanted > 0)
    if alphabet != "ternary":
        return replace(content, masked=(replace(tensor, planes=(pack(agrees),)),))
    kept = rng.random(agrees.size) < 0.7
    planes = pack(kept), pack(~agrees[kept])
    return replace(content, masked=(replace(tensor, kept=int(kept.sum()), planes=planes),))
