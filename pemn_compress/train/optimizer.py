"""The optimizer of a run."""

from __future__ import annotations

import torch
from torch import nn

from pemn_compress.masking import mask_parameters
from pemn_compress.train.config import TrainConfig

__all__ = ["build_optimizer"]


def build_optimizer(model: nn.Module, config: TrainConfig) -> torch.optim.AdamW:
    """AdamW over the scores (with learned scales) in one group and everything else that trains in another.

    Both groups start with the same rate and weight decay, as the reference has it; the split lets a caller change that.
    """
    chosen = [parameter for parameter in mask_parameters(model) if parameter.requires_grad]
    known = {id(parameter) for parameter in chosen}
    rest = [parameter for parameter in model.parameters() if parameter.requires_grad and id(parameter) not in known]
    groups = [
        {"params": parameters, "name": name}
        for name, parameters in (("mask", chosen), ("residual", rest))
        if parameters
    ]
    return torch.optim.AdamW(groups, lr=config.lr, weight_decay=config.weight_decay, fused=True)
