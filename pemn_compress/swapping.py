"""A model brought to a device by giving it new tensors there, so that its old values never travel."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn
from torch.autograd.graph import increment_version

__all__ = ["lies_on", "swap_"]


def lies_on(values: Mapping[str, torch.Tensor], device: torch.device | str) -> bool:
    """Say whether all tensors are on a device already."""
    place = torch.empty(0, device=device).device  # "cuda" is that of some number
    return all(value.device == place for value in values.values())


@torch.no_grad()
def swap_(
    model: nn.Module,
    held: Mapping[str, torch.Tensor],
    state: Mapping[str, torch.Tensor],
    device: torch.device | str,
    dtype: torch.dtype,
) -> None:
    """Do as `model.to(device, dtype)`, but parameters and buffers in `held` take the tensors that `state` has for them.

    `held` are the model's own by name, `state` has the same names and shapes and is on the device. Parameters remain
    the same objects, tied ones tied, hooks and `requires_grad` as they are; what lies there in its dtype is written
    over. Nothing of the model changes before every new tensor is there.
    """
    new: dict[int, torch.Tensor] = {}
    staying: list[tuple[torch.Tensor, torch.Tensor]] = []
    given: dict[int, int] = {}
    for name, old in held.items():
        value = state[name].to(_dtype_of(old, dtype))
        if (old.device, old.dtype) == (value.device, value.dtype):
            staying.append((old, value))
            continue
        if given.setdefault(id(value), id(old)) != id(old):
            value = value.clone()  # the file ties what the model does not
        if not old.is_contiguous():
            value = torch.empty_like(old, device=device, dtype=value.dtype).copy_(value)
        new[id(old)] = value

    def moved(value: torch.Tensor) -> torch.Tensor:
        found = new.get(id(value))
        return value.to(device, _dtype_of(value, dtype)) if found is None else found

    # The walk of `Module.to` itself, which modules that keep their tensors elsewhere too (nn.LSTM) override.
    model._apply(moved)  # type: ignore[no-untyped-call]
    for old, value in staying:
        old.copy_(value)
    for value in held.values():
        # What autograd saved of the old values must not be taken for theirs.
        increment_version(value)


def _dtype_of(value: torch.Tensor, dtype: torch.dtype) -> torch.dtype:
    """The dtype that `Module.to` would give a tensor."""
    return dtype if value.is_floating_point() or value.is_complex() else value.dtype
