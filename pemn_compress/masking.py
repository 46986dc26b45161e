"""Masks on any model: `mask_` and the way back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn
from torch.nn.utils import parametrize

from pemn_compress.bases import value_sources
from pemn_compress.config import MaskConfig
from pemn_compress.forward_span import detach
from pemn_compress.layers import choose_layers
from pemn_compress.learners import LEARNERS
from pemn_compress.learners.group import Group
from pemn_compress.maskable import Target, find_targets, is_maskable, unwrap
from pemn_compress.masked_weight import MaskChain, MaskedWeight, initial_scores, score_bound
from pemn_compress.strategies import plan
from pemn_compress.together import Together

__all__ = ["is_maskable", "mask_", "mask_parameters", "masked_weights", "merge_"]


def mask_(
    model: nn.Module,
    config: MaskConfig | None = None,
    *,
    filter_fn: Callable[[str, nn.Module], bool] | None = None,
) -> nn.Module:
    """Turn the weights of `model` into masks over values that cost nothing, in place, and return it.

    Convolutions, transposed convolutions, linear layers and the projections of `nn.MultiheadAttention` are masked, in
    the order of `named_modules()`; `filter_fn(module_name, module)` chooses among them, and the `int8_layers` of
    `config` stay as they are. The parameters stay the same
    objects and now hold scores, so an optimizer made before stays valid; the earlier weights are lost. Weights must be
    float32. A transposed convolution's scales and fan-in follow dimension 0 and 1 as torch's own initialisation does.

    Raises `PemnError`, with the model untouched, when nothing can be masked or a weight is already masked, tied,
    lazy, on the meta device, parametrized otherwise, or not float32.

    >>> import torch, pemn_compress as pemn
    >>> model = pemn.mask_(torch.nn.Linear(8, 4), pemn.MaskConfig(strategy="rp", values=5, seed=1))
    >>> int(model.weight.count_nonzero()) < 32
    True
    """
    config = MaskConfig() if config is None else config
    targets = find_targets(unwrap(model), filter_fn, choose_layers(model, config.int8_layers))
    tensors = [target.tensor for target in targets]
    planned = plan(tensors, config)
    prepared: list[tuple[Target, MaskedWeight, torch.Tensor]] = []
    devices = [target.parameter.device for target in targets]
    sources = value_sources(tensors, planned, config, devices)
    kind, group, together = LEARNERS[config.learner], Group(), Together()
    largest = max(tensors, key=lambda tensor: tensor.numel)
    for index, (target, source) in enumerate(zip(targets, sources, strict=True)):
        bound = score_bound((largest if kind.joint else target.tensor).fan_in)
        place = {"group": group, "index": index} if kind.joint else {}
        learner = kind(config.alphabet, config.density, bound, **place)
        weight = MaskedWeight(target.tensor, index, planned, config, source, learner)
        prepared.append((target, weight, initial_scores(target.tensor, index, config.seed, bound, devices[index])))
    for target, weight, scores in prepared:
        with torch.no_grad():
            target.parameter.copy_(scores)
        parametrize.register_parametrization(target.module, target.attribute, weight)
        chain = target.module.parametrizations[target.attribute]  # type: ignore[index]
        chain.__class__ = MaskChain
        group.members.append(chain)  # type: ignore[arg-type]
        together.add(chain, target.module, target.attribute)  # type: ignore[arg-type]
    if kind.joint:
        group.attach(unwrap(model))
    together.attach(unwrap(model))
    return model


def merge_(model: nn.Module) -> nn.Module:
    """Replace every masked weight of `model` by its dense value, in place, and return it.

    What is left are plain modules with plain parameters; scores, learned scales and learned values are gone. A model
    without masks stays as it is. Raises `PemnError` for scores that are NaN or not float32, with the model untouched.

    >>> import torch, pemn_compress as pemn
    >>> type(pemn.merge_(pemn.mask_(torch.nn.Linear(8, 4)))).__name__
    'Linear'
    """
    found = list(_masked(unwrap(model)))
    for _, module, attribute in found:
        weight, score = _parts(module, attribute)
        weight.code(score)
    detach(unwrap(model))
    joint = _joint_weights(found)
    merged: dict[int, tuple[nn.Module, list[str]]] = {}
    for name, module, attribute in found:
        _own_class(module)
        parametrize.remove_parametrizations(module, attribute, leave_parametrized=True)
        if name in joint:
            with torch.no_grad():
                getattr(module, attribute).copy_(joint.pop(name))
        merged.setdefault(id(module), (module, []))[1].append(attribute)
    for module, attributes in merged.values():
        _put_first(module, attributes)
    return model


def masked_weights(model: nn.Module) -> list[tuple[str, MaskedWeight, nn.Parameter]]:
    """Return (full tensor name, parametrization, scores) of every masked weight, in the order of `named_modules()`.

    Names are those of the plain model: no trace of parametrization or compilation.
    """
    return [(name, *_parts(module, attribute)) for name, module, attribute in _masked(unwrap(model))]


def mask_parameters(model: nn.Module) -> Iterator[nn.Parameter]:
    """Yield the scores of every masked weight, each followed by its learned scale and values if it has them.

    Values that several tensors share come once, with the first of them.

    >>> import torch, pemn_compress as pemn
    >>> model = pemn.mask_(torch.nn.Linear(8, 4), pemn.MaskConfig(scale="channel"))
    >>> [tuple(parameter.shape) for parameter in pemn.mask_parameters(model)]
    [(4, 8), (4,)]
    """
    seen: set[int] = set()
    for _, weight, score in masked_weights(model):
        for parameter in (score, *weight.parameters()):
            if id(parameter) not in seen:
                seen.add(id(parameter))
                yield parameter


@torch.no_grad()
def _joint_weights(found: list[tuple[str, nn.Module, str]]) -> dict[str, torch.Tensor]:
    """Return the weights where scores decide together, at their final density, before the first of them is gone."""
    joint = {}
    for name, module, attribute in found:
        weight, score = _parts(module, attribute)
        if weight.learner.joint:
            module.parametrizations[attribute].eval()  # type: ignore[index,union-attr]
            joint[name] = weight(score)
    return joint


def _masked(model: nn.Module) -> Iterator[tuple[str, nn.Module, str]]:
    """Yield (full tensor name, module, attribute) of every masked weight."""
    for path, module in model.named_modules():
        if not parametrize.is_parametrized(module):
            continue
        for attribute, chain in module.parametrizations.items():
            if isinstance(chain[0], MaskedWeight):
                path = path.replace("_orig_mod.", "")
                yield f"{path}.{attribute}" if path else attribute, module, attribute


def _parts(module: nn.Module, attribute: str) -> tuple[MaskedWeight, nn.Parameter]:
    chain: Any = module.parametrizations[attribute]  # type: ignore[index]
    weight: MaskedWeight = chain[0]
    score: nn.Parameter = chain.original
    return weight, score


def _own_class(module: nn.Module) -> None:
    """Give a parametrized module a class of its own.

    torch makes one class for each parametrized module, but deep copies share it, and removing a parametrization deletes
    the property from that class: without this, merging a copy would break the original.
    """
    shared = type(module)
    members = {name: member for name, member in vars(shared).items() if name not in ("__dict__", "__weakref__")}
    module.__class__ = type(shared.__name__, shared.__bases__, members)


def _put_first(module: nn.Module, attributes: list[str]) -> None:
    """Move parameters to the front, where weights were registered, so that the state dict has its old order."""
    parameters = module._parameters
    moved = {name: parameters.pop(name) for name in attributes}
    moved.update(parameters)
    parameters.clear()
    parameters.update(moved)
