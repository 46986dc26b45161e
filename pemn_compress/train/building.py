"""The model of a run, made from its options."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from pemn_compress import models
from pemn_compress.masking import mask_
from pemn_compress.train.run_config import RunConfig
from pemn_formats.errors import PemnError

__all__ = ["build_model"]


def build_model(config: RunConfig, described: Mapping[str, Any]) -> nn.Module:
    """Build the model that `config` names for images as `described`, and mask it unless the run is regular.

    A registered model takes classes, channels and image side from the data unless `model_args` names them; one of the
    user's takes `num_classes`. The dense start comes from the run's seed; torch's random state is left as it was.

    Args:
        config: the run.
        described: what the network takes, as `DataSpec.to_input` gives it.

    Raises:
        PemnError: an unknown model, or arguments that do not fit it or the data.
    """
    classes, given = int(described["classes"]), dict(config.model_args)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(config.train.seed & 0xFFFFFFFF)
        if models.is_user_model(config.model):
            model = models.resolve_user_model(config.model, **{"num_classes": classes, **given})
        else:
            height, width = described["size"]
            fitting = models.data_arguments(
                config.model, classes=classes, channels=int(described["channels"]), size=(height, width)
            )
            for name in ("classes", "channels"):
                if name in given and name in fitting and given[name] != fitting[name]:
                    raise PemnError(
                        f"model {config.model}: {name} is {given[name]}, but data {described['data']} "
                        f"has {fitting[name]}; leave the argument out"
                    )
            model = models.build(config.model, **{**fitting, **given})
    return model if config.mask is None else mask_(model, config.mask)
