"""The run that a budget makes of a person's options."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from pemn_compress.plan.bytes_of_a_net import bytes_of_a_net, can_steer
from pemn_compress.plan.candidates import candidates
from pemn_compress.plan.shapes import FAMILIES
from pemn_compress.train.run_config import RunConfig
from pemn_formats.errors import PemnError

__all__ = ["chooses_width", "planned"]


def chooses_width(options: RunConfig) -> bool:
    """Whether a plan chooses the width of a run's net: it has a budget, and names a family but no width."""
    family = FAMILIES.get(options.model)
    return options.budget is not None and family is not None and family.width not in options.model_args


def planned(options: RunConfig, described: Mapping[str, Any], *, saved: float | None = None) -> RunConfig:
    """Return the run with every argument of its model chosen, so that its file fits `options.budget`, if it has one.

    A model whose width is given, or which belongs to no family, is taken as it is.

    Args:
        options: the run.
        described: what the network takes, as `DataSpec.to_input` gives it.
        saved: the bits a weight that masks were seen to save, as in `bytes_of_a_net`.

    Raises:
        PemnError: no net of the family fits, or the given one cannot be brought to fit.
    """
    if options.budget is None:
        return options
    if options.mask is None or chooses_width(options):
        best = candidates(options.budget, options, described, saved=saved)[0]
        return dataclasses.replace(options, model_args=best.model_args)
    found = bytes_of_a_net(options, described)
    if found.fewest > options.budget:
        remedy = "leave its width out" if options.model in FAMILIES else "choose a smaller one"
        steered = f" ({found.fewest:,} B at the fewest bits a weight)" if can_steer(options) else ""
        raise PemnError(
            f"the model {options.model} as given takes up to {found.least.file:,} B{steered}, more than the "
            f"budget of {options.budget:,} B; {remedy}, or raise the budget"
        )
    return options
