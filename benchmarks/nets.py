"""The networks whose files are measured, with values that stand in for trained ones."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from pemn_compress import is_maskable
from pemn_compress.models import build, resolve_user_model

__all__ = ["NETS", "stand_in_"]

NETS: Mapping[str, Callable[[], nn.Module]] = {
    "convmixer-256/6": lambda: build("convmixer", dim=256, depth=6, kernel=5, patch=2, classes=10),
    "convmixer-256/8": lambda: build("convmixer", dim=256, depth=8, kernel=5, patch=2, classes=10),
    "convmixer-512/8": lambda: build("convmixer", dim=512, depth=8, kernel=5, patch=2, classes=10),
    "resnet-20": lambda: build("resnet", depth=20, classes=10),
    "resnet-56": lambda: build("resnet", depth=56, classes=10),
    "resnet18": lambda: resolve_user_model("torchvision.resnet18", num_classes=1000),
    "vit_b_16": lambda: resolve_user_model("torchvision.vit_b_16", num_classes=1000),
}


@torch.no_grad()
def stand_in_(model: nn.Module, seed: int = 0) -> nn.Module:
    """Give every parameter and statistic a random value of a plausible spread, in place, and return the model.

    Trained weights of most of these nets do not exist here. Weights are Gaussian with Kaiming's deviation, which no
    coder can shrink below its entropy; affine parameters and statistics vary too, so that none of them compresses
    away as a constant.
    """
    generator = torch.Generator().manual_seed(seed)

    def gaussian_(tensor: torch.Tensor, mean: float, deviation: float) -> None:
        tensor.copy_(torch.randn(tensor.shape, generator=generator) * deviation + mean)

    for module in model.modules():
        normalises = isinstance(module, (_BatchNorm, nn.LayerNorm))
        for name, parameter in module.named_parameters(recurse=False):
            if normalises:
                gaussian_(parameter, 1.0 if name == "weight" else 0.0, 0.25)
            elif is_maskable(module, name):
                gaussian_(parameter, 0.0, math.sqrt(2.0 / math.prod(parameter.shape[1:])))
            else:
                gaussian_(parameter, 0.0, 0.05)
        if isinstance(module, _BatchNorm) and module.running_mean is not None and module.running_var is not None:
            gaussian_(module.running_mean, 0.0, 0.5)
            gaussian_(module.running_var, 0.0, 0.5)
            module.running_var.exp_()
            if module.num_batches_tracked is not None:
                module.num_batches_tracked.fill_(39_100)
    return model
