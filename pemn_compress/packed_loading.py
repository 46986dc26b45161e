"""From a file's content to a model that runs from its packed masks."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import nn

from pemn_compress.loading import rebuild_state
from pemn_compress.misfit import check_fit, check_meta
from pemn_compress.packed_layers import has_twin, packed_twin
from pemn_compress.packed_weight import pack_weight
from pemn_formats.content import Content, MaskedTensor

__all__ = ["fill_packed"]


def fill_packed(
    model: nn.Module, content: Content, *, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
) -> nn.Module:
    """Fill a plain model in place and return it, its masked linear layers and 1x1 convolutions replaced by packed ones.

    Everything else is dense: other layers, the projections of attention, weights that two names share, and a model
    that is itself one such layer. Errors as `loading.fill_model`.
    """
    tied = {*content.aliases, *content.aliases.values()}
    chosen = [tensor for tensor in content.masked if tensor.name not in tied and _can_be_packed(model, tensor)]
    packed = {tensor.name for tensor in chosen}
    dense = replace(content, masked=tuple(tensor for tensor in content.masked if tensor.name not in packed))
    state = rebuild_state(dense, device=device, dtype=dtype)
    shapes = {tensor.name: tensor.shape for tensor in chosen}
    check_fit(model, content, {name: tuple(value.shape) for name, value in state.items()} | shapes)
    on_meta = check_meta(model)
    for tensor in chosen:
        parent, name = _place_of(model, tensor)
        setattr(parent, name, packed_twin(getattr(parent, name), pack_weight(content, tensor).to(device)))
    if not on_meta:
        model.to(device=device, dtype=dtype)
    # Not strict: what is missing are the buffers of packed layers, which have their values. Names were compared above.
    model.load_state_dict(state, strict=False, assign=on_meta)
    return model.eval()


def _can_be_packed(model: nn.Module, tensor: MaskedTensor) -> bool:
    path, _, attribute = tensor.name.rpartition(".")
    if not path or attribute != "weight":
        return False
    try:
        layer = model.get_submodule(path)
    except AttributeError:
        return False  # check_fit names what is missing
    # The fused path of nn.TransformerEncoderLayer takes weights out of its layers instead of calling them.
    fused = isinstance(model.get_submodule(path.rpartition(".")[0]), nn.TransformerEncoderLayer)
    return has_twin(layer) and not fused


def _place_of(model: nn.Module, tensor: MaskedTensor) -> tuple[nn.Module, str]:
    parent, _, name = tensor.name.rpartition(".")[0].rpartition(".")
    return model.get_submodule(parent), name
