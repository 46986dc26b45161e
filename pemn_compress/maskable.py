"""What can be masked in a model, and every reason why it cannot."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.parameter import UninitializedParameter
from torch.nn.utils import parametrize

from pemn_compress.masked_weight import MaskedWeight
from pemn_compress.strategies import TensorInfo
from pemn_formats.errors import FormatError, PemnError
from pemn_formats.names import check_name

__all__ = ["Target", "find_targets", "is_maskable", "plain_name", "unwrap", "weight_names"]

_ONE_WEIGHT = (
    nn.Linear,
    nn.Conv1d,
    nn.Conv2d,
    nn.Conv3d,
    nn.ConvTranspose1d,
    nn.ConvTranspose2d,
    nn.ConvTranspose3d,
)
_ATTENTION = ("in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight")


@dataclass(frozen=True)
class Target:
    """A weight to mask: where it lives and what the strategies need to know of it."""

    module: nn.Module
    attribute: str
    parameter: nn.Parameter
    tensor: TensorInfo


def unwrap(model: nn.Module) -> nn.Module:
    """Return the module inside the wrapper that `torch.compile(model)` returns, or `model` itself."""
    while isinstance(inner := getattr(model, "_orig_mod", None), nn.Module):
        model = inner
    return model


def plain_name(name: str) -> str:
    """Return the path of a module or the name of a tensor without what `torch.compile` puts into it."""
    return name.replace("_orig_mod.", "")


def is_maskable(module: nn.Module, name: str = "weight") -> bool:
    """Say whether `mask_` would take the parameter `name` of this module as it is now.

    >>> import torch, pemn_compress as pemn
    >>> pemn.is_maskable(torch.nn.Conv2d(3, 8, 3)), pemn.is_maskable(torch.nn.BatchNorm2d(8))
    (True, False)
    """
    return name in weight_names(module) and _obstacle(module, name) is None


def find_targets(
    model: nn.Module,
    filter_fn: Callable[[str, nn.Module], bool] | None = None,
    left_dense: Collection[str] = (),
) -> list[Target]:
    """Return the weights to mask in the order of `named_modules()`, a module under two names once.

    `filter_fn(path, module)` chooses layers, those whose paths are in `left_dense` stay out.

    Raises `PemnError` that names the weight when one of those chosen cannot be masked, or when there is none.
    """
    targets, kinds = [], 0
    for path, module in model.named_modules():
        path = plain_name(path)
        kinds += bool(weight_names(module))
        if not weight_names(module) or path in left_dense or (filter_fn is not None and not filter_fn(path, module)):
            continue
        for attribute in weight_names(module):
            name = f"{path}.{attribute}" if path else attribute
            obstacle = _obstacle(module, attribute)
            if obstacle is not None:
                raise PemnError(f"{name} {obstacle}")
            parameter = module._parameters[attribute]
            if parameter is not None and parameter.numel():
                shape = tuple(parameter.shape)
                targets.append(Target(module, attribute, parameter, TensorInfo(name, shape, math.prod(shape[1:]))))
    if not targets:
        who = " and ".join(["filter_fn"] * (filter_fn is not None) + ["int8_layers"] * bool(left_dense))
        left = f"{who} left out all {kinds}" if who else f"all {kinds} are empty"
        found = left if kinds else f"{type(model).__name__} holds none"
        raise PemnError(f"nothing to mask: no convolution, linear or attention layer with weights; {found}")
    _refuse_tied(model, targets)
    _refuse_second_time(model)
    _refuse_names(model)
    return targets


def weight_names(module: nn.Module) -> list[str]:
    """Return the names under which a module of a kind that can be masked has a weight; none for another one."""
    if isinstance(module, _ONE_WEIGHT):
        return ["weight"]
    if isinstance(module, nn.MultiheadAttention):
        return [name for name in _ATTENTION if getattr(module, name, None) is not None]
    return []


def _obstacle(module: nn.Module, name: str) -> str | None:
    """Return what keeps a weight from being masked, or None."""
    if parametrize.is_parametrized(module, name):
        if isinstance(module.parametrizations[name][0], MaskedWeight):  # type: ignore[index]
            return "is already masked; merge_ the model first to mask it anew"
        return "already has another parametrization; remove it first with torch.nn.utils.parametrize"
    parameter = module._parameters.get(name)
    if parameter is None:
        return "is not a parameter but computed by a hook (weight_norm, spectral_norm, prune); remove that first"
    if isinstance(parameter, UninitializedParameter):
        return "has no shape yet; run one batch through the lazy module first"
    if parameter.is_meta:
        return "is on the meta device and holds no data; materialise it first with model.to_empty(device=...)"
    if parameter.dtype != torch.float32:
        return f"is {parameter.dtype}, but scores are learned in torch.float32; convert it first with model.float()"
    return None


def _refuse_tied(model: nn.Module, targets: list[Target]) -> None:
    owners: defaultdict[int, list[str]] = defaultdict(list)
    for name, parameter in _parameters(model):
        owners[id(parameter)].append(name)
    for target in targets:
        names = owners[id(target.parameter)]
        if len(names) > 1:
            raise PemnError(
                f"{target.tensor.name} is tied: {' and '.join(names)} are one parameter; untie them, or leave them out "
                "with filter_fn"
            )


def _refuse_second_time(model: nn.Module) -> None:
    for path, module in model.named_modules():
        if isinstance(module, MaskedWeight):
            name = plain_name(path).replace("parametrizations.", "").rsplit(".", 1)[0]
            raise PemnError(f"the model is already masked (at {name}); merge_ it first, or mask all its layers at once")


def _refuse_names(model: nn.Module) -> None:
    """Find out before training what no file could carry after it."""
    for name in model.state_dict():
        try:
            check_name(plain_name(name))
        except FormatError as error:
            raise PemnError(f"{error}, so a file could not carry it; rename the module") from None


def _parameters(model: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    """Yield every parameter once for each module that owns it."""
    for path, module in model.named_modules():
        for attribute, parameter in module._parameters.items():
            if parameter is not None:
                path = plain_name(path)
                yield f"{path}.{attribute}" if path else attribute, parameter
