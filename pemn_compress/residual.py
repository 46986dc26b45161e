"""What a file stores densely: everything of a model that is not masked, BatchNorm folded to an affine map."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeGuard

import numpy as np
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from pemn_compress.stored import folded_entry, int8_entries, stored_entry
from pemn_formats.content import DTYPES, LOG8, ResidualTensor
from pemn_formats.errors import PemnError

__all__ = ["RESIDUAL_DTYPES", "collect_residual", "fold_bn", "is_foldable", "plain_state", "residual_tensor"]

RESIDUAL_DTYPES = ("float16", "float32", LOG8)
_INTEGERS = {torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool}


@dataclass(frozen=True)
class Residual:
    """Residual entries, and the state-dict names that share a tensor with an earlier name."""

    entries: tuple[ResidualTensor, ...]
    aliases: dict[str, str]


def collect_residual(
    model: nn.Module,
    masked: Mapping[int, str],
    *,
    residual_dtype: str = "float16",
    lossless: bool = False,
    int8: Collection[int] = (),
) -> Residual:
    """Return everything that a plain model's state dict holds besides its masked weights.

    `masked` maps the id of each score parameter to the name of its weight. Floats are rounded to `residual_dtype`, and
    BatchNorms that are affine and track statistics become two vectors; `lossless` keeps every entry as it is. The
    parameters whose ids are in `int8` become integers with channel scales.
    Raises `PemnError` naming the entry that cannot be stored.
    """
    if residual_dtype not in RESIDUAL_DTYPES:
        raise PemnError(f"unknown residual dtype {residual_dtype!r}; known: {', '.join(RESIDUAL_DTYPES)}")
    foldable = {} if lossless else dict(_foldable(model))
    seen = dict(masked)
    entries: list[ResidualTensor] = []
    aliases: dict[str, str] = {}
    for name, tensor in plain_state(model):
        if not isinstance(tensor, torch.Tensor):
            raise PemnError(f"{name} is no tensor but {type(tensor).__name__}, which a .pemn file cannot store")
        path, _, last = name.rpartition(".")
        if id(tensor) in seen:
            owner = seen[id(tensor)]
            if path in foldable:
                raise PemnError(f"{name} is tied to {owner}, so its BatchNorm cannot be folded; save it lossless")
            if owner != name:
                aliases[name] = owner
            continue
        seen[id(tensor)] = name
        if id(tensor) in int8:
            entries += int8_entries(name, tensor.detach().cpu().double().numpy(), residual_dtype)
        elif path not in foldable:
            entries.append(residual_tensor(name, tensor, None if lossless else residual_dtype))
        elif last == "weight":
            entries.append(fold_bn(path, foldable[path], residual_dtype))
    return Residual(tuple(entries), aliases)


def is_foldable(module: nn.Module) -> TypeGuard[_BatchNorm]:
    """Say whether a module is a BatchNorm that is, in evaluation, a stored affine map of its own."""
    return (
        isinstance(module, _BatchNorm)
        and module.affine
        and module.track_running_stats
        and 0 <= module.eps < 1
        and not any(isinstance(value, nn.UninitializedParameter) for value in module.parameters())
    )


def fold_bn(path: str, module: _BatchNorm, dtype: str) -> ResidualTensor:
    """Return a BatchNorm's affine map as a residual entry of shape (2, channels): scale, then shift.

    scale = weight / sqrt(var + eps), shift = bias - mean * (the scale as stored), in float64, rounded once to `dtype`.
    """
    weight, bias, mean, variance = (
        getattr(module, name).detach().cpu().double().numpy()
        for name in ("weight", "bias", "running_mean", "running_var")
    )
    eps: np.float32 = np.float32(module.eps)
    with np.errstate(divide="ignore", invalid="ignore"):
        scale = weight / np.sqrt(variance + float(eps))
    return folded_entry(path, scale, mean, bias, dtype, eps)


def residual_tensor(name: str, tensor: torch.Tensor, dtype: str | None, kind: str = "dense") -> ResidualTensor:
    """Return a tensor as a residual entry; floats are rounded to `dtype`, or kept as they are with None."""
    if tensor.is_meta or isinstance(tensor, nn.UninitializedParameter):
        raise PemnError(f"{name} has no values yet; run the model once, or move it off the meta device, before saving")
    found = str(tensor.dtype).removeprefix("torch.")
    tensor = tensor.detach().cpu().contiguous()
    if tensor.dtype in _INTEGERS or (tensor.is_floating_point() and dtype is None and found in DTYPES):
        bits = tensor.view(torch.uint16) if tensor.dtype == torch.bfloat16 else tensor
        return ResidualTensor(name, tuple(tensor.shape), kind, found, values=bits.numpy())
    if not tensor.is_floating_point() or dtype is None:
        raise PemnError(f"{name} holds {found}, which a .pemn file cannot store")
    return stored_entry(name, tensor.double().numpy(), dtype, kind)


def _foldable(model: nn.Module) -> Iterator[tuple[str, _BatchNorm]]:
    for path, module in model.named_modules():
        if is_foldable(module):
            yield path.replace("_orig_mod.", ""), module


def plain_state(model: nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield the state dict of the unmasked model: masked weights under plain names, what masks learn left out."""
    for name, value in model.state_dict(keep_vars=True).items():
        name = name.replace("_orig_mod.", "")
        module, parametrized, rest = name.rpartition(".parametrizations.")
        if not parametrized and name.startswith("parametrizations."):
            parametrized, rest = "parametrizations.", name.removeprefix("parametrizations.")
        if not parametrized:
            yield name, value
        elif rest.endswith(".original"):
            attribute = rest.removesuffix(".original")
            yield (f"{module}.{attribute}" if module else attribute), value
        elif not rest.endswith((".0.scale", ".0.vector")):
            raise PemnError(f"{name} belongs to a parametrization that is not a mask; remove it before saving")
