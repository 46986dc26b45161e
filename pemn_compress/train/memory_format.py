"""In which order images and convolutions lie in memory."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import torch
from torch import nn

from pemn_compress.masked_weight import MaskedWeight

__all__ = ["in_channels_last", "place_"]

_KNOWN = ("pemn_compress.models.", "torchvision.models.")


def in_channels_last(model: nn.Module, wanted: bool | None, device: torch.device) -> bool:
    """Whether to train in channels-last memory; `wanted` None chooses.

    A CPU convolves faster in it (`benchmarks.reference_speed` has both). It is chosen for nets that are known to work
    in it: a `view` in anybody else's may not.
    """
    if wanted is not None:
        return wanted
    return device.type == "cpu" and type(model).__module__.startswith(_KNOWN)


def place_(nets: Iterable[nn.Module], wanted: bool | None, device: torch.device) -> bool:
    """Move nets that see the same images to a device, in place, all to channels-last memory or none; return which."""
    nets = list(nets)
    together = all(in_channels_last(net, wanted, device) for net in nets)
    for net in nets:
        net.to(device)
        if together:
            net.to(memory_format=torch.channels_last)
            _drop_shared_values_(net)
    return together


def _drop_shared_values_(net: nn.Module) -> None:
    """Copy values out of a vector that several tensors were cut from, where the others' values have left it."""
    weights = defaultdict(list)
    for module in net.modules():
        if isinstance(module, MaskedWeight) and module.vector is None:
            weights[module.value.untyped_storage().data_ptr()].append(module)
    for sharing in weights.values():
        if sum(weight.value.nbytes for weight in sharing) < sharing[0].value.untyped_storage().nbytes():
            for weight in sharing:
                weight.value = weight.value.clone()
