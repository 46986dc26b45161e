"""The optimizer of a run."""

from __future__ import annotations

import torch
from torch import nn

from pemn_compress.train.config import TrainConfig

__all__ = ["build_optimizer"]


def build_optimizer(model: nn.Module, config: TrainConfig) -> torch.optim.AdamW:
    """AdamW over all that trains: scores have the rate and the weight decay of everything else, as in the reference.

    A second group would be a second call of the fused optimizer, which in small nets takes time.
    """
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return torch.optim.AdamW(trained, lr=config.lr, weight_decay=config.weight_decay, fused=True)
