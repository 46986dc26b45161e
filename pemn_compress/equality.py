"""Whether a decoded file is the model it was made from."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import numpy as np
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from pemn_compress.loading import rebuild_state
from pemn_compress.maskable import plain_name
from pemn_compress.masking import masked_weights, merge_
from pemn_compress.residual import fold_bn, residual_tensor
from pemn_compress.saving import learned_prototype
from pemn_compress.stored import int8_entries
from pemn_formats.content import Content, ResidualTensor
from pemn_formats.errors import PemnError
from pemn_formats.reconstruct import float_values

__all__ = ["check_equal"]


def check_equal(model: nn.Module, content: Content) -> None:
    """Compare a decoded content with the masked model it was made from.

    The state-dict names are the same, every residual value is the model's, rounded, and every masked weight is the
    model's in all its bits (with learned channel scales and values rounded as they are stored).

    Raises:
        PemnError: naming the first tensor that differs.
    """
    _check_values(model, content)
    plain = merge_(_as_stored(copy.deepcopy(model), content))
    wanted = {plain_name(name): value for name, value in plain.state_dict().items()}
    found = rebuild_state(content)
    for name in sorted(wanted.keys() ^ found.keys()):
        raise PemnError(
            f"the export would not load back: {name} is in {'the model' if name in wanted else 'the file'} only"
        )
    for tensor in content.masked:
        if not _same_bits(found[tensor.name], wanted[tensor.name].cpu()):
            raise PemnError(f"the export would not load back: {tensor.name} differs from the trained weight")
    modules = dict(plain.named_modules())
    scales = {name: weight.scale for name, weight, _ in masked_weights(model) if weight.scale is not None}
    in_int8 = {entry.name for entry in content.residual if entry.kind == "int8"}
    scale_dtypes = {entry.name: entry.dtype for entry in content.residual if entry.kind == "scale"}
    for entry in content.residual:
        if entry.name in in_int8:
            weight = wanted[entry.name].cpu().double().numpy()
            expected = int8_entries(entry.name, weight, scale_dtypes[entry.name])[entry.kind == "scale"]
        else:
            expected = _expected(entry, modules, wanted, scales)
        if entry.values.tobytes() != expected.values.tobytes():
            raise PemnError(f"the export would not load back: {entry.name} differs from the model's rounded values")


def _check_values(model: nn.Module, content: Content) -> None:
    """Compare learned values with the file's."""
    for _, weight, _ in masked_weights(model):
        if weight.vector is None:
            continue
        stored = content.prototypes[weight.fill.prototype]
        wanted = learned_prototype(weight.fill.prototype, weight.vector, stored.source)
        if stored.values is None or wanted.values is None or stored.values.tobytes() != wanted.values.tobytes():
            raise PemnError(
                f"the export would not load back: prototype {weight.fill.prototype} differs from its values"
            )


@torch.no_grad()
def _as_stored(model: nn.Module, content: Content) -> nn.Module:
    stored = {entry.name: float_values(entry) for entry in content.residual if entry.kind == "scale"}
    for name, weight, _ in masked_weights(model):
        values = content.prototypes[weight.fill.prototype].values
        if weight.vector is not None and values is not None:
            weight.vector.copy_(torch.from_numpy(values.astype(np.float32)))
        if name in stored and weight.scale is not None:
            weight.scale.copy_(torch.from_numpy(stored[name]).reshape(weight.scale.shape))
    return model


def _expected(
    entry: ResidualTensor,
    modules: dict[str, nn.Module],
    state: dict[str, torch.Tensor],
    scales: Mapping[str, torch.Tensor],
) -> ResidualTensor:
    module = modules.get(entry.name)
    if entry.kind == "bn" and isinstance(module, _BatchNorm):
        return fold_bn(entry.name, module, entry.dtype)
    source = scales[entry.name] if entry.kind == "scale" else state[entry.name]
    keeps_dtype = str(source.dtype).removeprefix("torch.") == entry.dtype
    return residual_tensor(entry.name, source, None if keeps_dtype else entry.dtype, entry.kind)


def _same_bits(left: torch.Tensor, right: torch.Tensor) -> bool:
    if left.dtype != right.dtype or left.shape != right.shape:
        return False
    return bool(np.array_equal(left.numpy().view(np.uint32), right.contiguous().numpy().view(np.uint32)))
