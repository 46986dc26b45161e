"""From a file's content to a model that runs from its packed masks."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace

import torch
from torch import nn

from pemn_compress.filling import state_shapes
from pemn_compress.loading import rebuild_state
from pemn_compress.maskable import plain_name
from pemn_compress.misfit import check_fit, check_meta
from pemn_compress.packed_layers import has_twin, packed_twin
from pemn_compress.packed_parameter import hold_in_attention_, pack_parameter_
from pemn_compress.packed_weight import pack_weight
from pemn_compress.rebuild import check_dtype
from pemn_formats.content import Content, MaskedTensor

__all__ = ["fill_packed"]


@dataclass(frozen=True)
class _Place:
    """A parameter's module and attribute, and the module's parents with the names they have it under."""

    module: nn.Module
    attribute: str
    parents: tuple[tuple[nn.Module, str], ...]


def fill_packed(
    model: nn.Module, content: Content, *, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
) -> nn.Module:
    """Fill a plain model in place and return it, every masked parameter held packed.

    Linear layers and 1x1 convolutions are replaced by ones that compute with the packed mask; any other module expands
    a parameter when its forward pass reads it, and frees it after. What is not masked is dense. Errors as
    `loading.fill_model`.
    """
    check_dtype(dtype)
    check_fit(model, content, state_shapes(content))
    on_meta = check_meta(model)
    found = _places(model)
    names: dict[str, list[str]] = {tensor.name: [tensor.name] for tensor in content.masked}
    for alias, target in content.aliases.items():
        names.get(target, []).append(alias)
    chosen = [tensor for tensor in content.masked if all(name in found for name in names[tensor.name])]
    state = rebuild_state(_without(content, chosen), device=device, dtype=dtype)
    tables: dict[tuple[str, int], torch.Tensor] = {}
    for tensor in chosen:
        # One packed weight for all names of a tied one.
        weight = pack_weight(content, tensor).to(device).shared(tables)
        places = [found[name] for name in names[tensor.name]]
        if len(places) == 1 and (owner := _owner(places[0])) is not None:
            setattr(*owner, packed_twin(places[0].module, weight))
            continue
        for module, attribute in {(place.module, place.attribute) for place in places}:
            pack_parameter_(module, attribute, weight, dtype)
    hold_in_attention_(model)
    if not on_meta:
        model.to(device=device, dtype=dtype)
    raw = {plain_name(name): name for name in model.state_dict()}
    # Not strict: what is missing belongs to packed weights, which have their values. Names were compared above.
    model.load_state_dict({raw[name]: value for name, value in state.items()}, strict=False, assign=on_meta)
    return model.eval()


def _without(content: Content, packed: list[MaskedTensor]) -> Content:
    left = {tensor.name for tensor in packed}
    masked = tuple(tensor for tensor in content.masked if tensor.name not in left)
    aliases = {alias: target for alias, target in content.aliases.items() if target not in left}
    return replace(content, masked=masked, aliases=aliases)


def _places(model: nn.Module) -> dict[str, _Place]:
    """Every parameter that a module owns, by its name in a file."""
    parents = defaultdict(list)
    for parent in model.modules():
        for name, child in parent.named_children():
            parents[child].append((parent, name))
    return {
        plain_name(f"{path}.{attribute}" if path else attribute): _Place(module, attribute, tuple(parents[module]))
        for path, module in model.named_modules(remove_duplicate=False)
        for attribute, parameter in module._parameters.items()
        if parameter is not None
    }


def _owner(place: _Place) -> tuple[nn.Module, str] | None:
    """Return who holds the layer under which name, if another one can be put in its place."""
    if place.attribute != "weight" or len(place.parents) != 1 or not has_twin(place.module):
        return None
    parent, name = place.parents[0]
    # The fused path of nn.TransformerEncoderLayer takes weights out of its layers instead of calling them, and a
    # compiled module goes on calling the layer that it was made from.
    taken = isinstance(parent, nn.TransformerEncoderLayer) or name == "_orig_mod"
    return None if taken else (parent, name)
