"""The values under the masks of a model: made once, shared where tensors have the same."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from pemn_compress.config import MaskConfig
from pemn_compress.generator import expand, seeded_values
from pemn_compress.strategies import Plan, TensorInfo
from pemn_formats.errors import PemnError
from pemn_formats.fills import PERMUTATION_STREAM

__all__ = ["value_sources"]

Device = torch.device | str


def value_sources(
    tensors: Sequence[TensorInfo], plan: Plan, config: MaskConfig, devices: Sequence[Device]
) -> list[torch.Tensor]:
    """Return what each tensor takes its values from: fixed ones in its shape, or its prototype's learned vector.

    Raises `PemnError` where tensors on several devices should learn one vector.
    """
    if not config.learn_values:
        return _fixed_values(tensors, plan, config, devices)
    if len(set(map(str, devices))) > 1:
        raise PemnError("learn_values shares one vector, found weights on several devices; mask the model on one")
    vectors = [
        nn.Parameter(seeded_values(config.distribution, config.seed, index, prototype.length, devices[0]))
        for index, prototype in enumerate(plan.prototypes)
    ]
    return [vectors[fill.prototype] for fill in plan.fills]


def _fixed_values(
    tensors: Sequence[TensorInfo], plan: Plan, config: MaskConfig, devices: Sequence[Device]
) -> list[torch.Tensor]:
    """Return scale * base of each tensor in its shape, or the base alone where the scale is to be learned; float32.

    Tensors on one device with the same prototype, shuffle and scale begin with the same values: they are views of the
    longest one.
    """
    keys = [
        (fill.prototype, fill.span, None if config.scale == "channel" else fill.scale, str(device))
        for fill, device in zip(plan.fills, devices, strict=True)
    ]
    longest: dict[object, int] = {}
    for key, tensor in zip(keys, tensors, strict=True):
        longest[key] = max(longest.get(key, 0), tensor.numel)
    made: dict[object, torch.Tensor] = {}
    for key, device in zip(keys, devices, strict=True):
        if key not in made:
            made[key] = _base(plan, config, key[0], key[1], longest[key], device)
            if key[2] is not None:
                made[key] = made[key] * torch.tensor(float(key[2]), dtype=torch.float32, device=device)
    return [made[key][: tensor.numel].view(tensor.shape) for key, tensor in zip(keys, tensors, strict=True)]


def _base(plan: Plan, config: MaskConfig, index: int, span: int, count: int, device: Device) -> torch.Tensor:
    length = plan.prototypes[index].length
    vector = seeded_values(config.distribution, config.seed, index, length if span else min(length, count), device)
    return expand(vector, span, config.seed, PERMUTATION_STREAM + index, count)
