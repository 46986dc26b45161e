"""Whole networks that run from their packed masks: bytes held and time of a forward pass, beside dense weights."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from benchmarks.nets import NETS, stand_in_
from benchmarks.timing import seconds_in_turns
from pemn_compress import PemnError, mask_
from pemn_compress.loading import rebuild_model
from pemn_compress.models import build
from pemn_compress.packed_layers import PackedTensor
from pemn_compress.saving import to_content

__all__ = ["MODELS", "measure_model"]

# Network, and the side of its images.
MODELS: Mapping[str, tuple[Callable[[], nn.Module], int]] = {
    "convmixer-256/8": (NETS["convmixer-256/8"], 32),
    "resnet-20": (NETS["resnet-20"], 32),
    "vit-256/6": (lambda: build("vit", dim=256, depth=6), 32),
    "vit_b_16": (NETS["vit_b_16"], 224),
}
_WAYS = ("dense", "packed")
_TOLERANCE = {torch.float16: 2e-2, torch.float32: 1e-4}


def bytes_held(tensors: Iterable[torch.Tensor]) -> int:
    """Bytes of tensors, those that share their storage once."""
    held = (tensor.untyped_storage() for tensor in tensors if tensor.numel())
    return sum({storage.data_ptr(): storage.nbytes() for storage in held}.values())


@torch.no_grad()
def measure_model(name: str, device: torch.device, batches: Sequence[int], repeats: int) -> dict[str, Any]:
    """Compare logits, count bytes in float16, and time forward passes in turns (float32 on the CPU)."""
    make, side = MODELS[name]
    torch.manual_seed(0)
    content = to_content(mask_(stand_in_(make())))
    weights = sum(tensor.numel for tensor in content.masked)
    dtype = torch.float16 if device.type == "cuda" else torch.float32
    halves = {way: rebuild_model(content, into=make(), dtype=torch.float16, packed=way == "packed") for way in _WAYS}
    held = {way: bytes_held((*model.parameters(), *model.buffers())) for way, model in halves.items()}
    parts = [part for part in halves["packed"].modules() if isinstance(part, PackedTensor)]
    masks = bytes_held(buffer for part in parts for buffer in part.buffers())
    del halves, parts
    models = {
        way: rebuild_model(content, into=make(), dtype=dtype, device=device, packed=way == "packed") for way in _WAYS
    }
    found = []
    for batch in batches:
        images = torch.randn(batch, 3, side, side, device=device, dtype=dtype)
        dense, packed = (models[way](images).double() for way in _WAYS)
        error = float((packed - dense).norm() / dense.norm())
        if not error < _TOLERANCE[dtype]:
            raise PemnError(f"{name}: logits from packed masks are {error:.1e} away from those of dense weights")
        works = {way: (lambda model=models[way], images=images: model(images)) for way in _WAYS}
        seconds, ratios = seconds_in_turns(works, device, repeats=repeats)
        found.append({"batch": batch, "error": error, "seconds": seconds, "packed_over_dense": ratios["packed"]})
    return {
        "model": name,
        "masked_weights": weights,
        "weights_bytes": {"dense float16": 2 * weights, "packed": masks},
        "model_bytes": {"dense float16": held["dense"], "packed": held["packed"]},
        "forward_dtype": str(dtype).removeprefix("torch."),
        "forward": found,
    }
