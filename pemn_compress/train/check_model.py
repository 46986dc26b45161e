"""Whether a model fits the images, found out before training."""

from __future__ import annotations

import torch
from torch import nn

from pemn_compress.data import DataSpec
from pemn_compress.train.evaluate import check_output
from pemn_formats.errors import PemnError

__all__ = ["check_model"]


@torch.no_grad()
def check_model(model: nn.Module, spec: DataSpec, device: torch.device) -> None:
    """Raise `PemnError` when the model cannot take the images or gives something other than one number a class."""
    images = torch.zeros(2, spec.channels, *spec.size, device=device)
    was_training = model.training
    model.eval()
    try:
        output = model(images)
    except RuntimeError as error:
        if isinstance(error, torch.OutOfMemoryError):
            raise
        detail = str(error).splitlines()[0]
        shape = "x".join(map(str, (spec.channels, *spec.size)))
        raise PemnError(f"the model does not take {shape} images of {spec.name}: {detail}") from None
    finally:
        model.train(was_training)
    check_output(output, 2, spec.classes)
