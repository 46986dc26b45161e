"""Why a file uses less of its budget than it should."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pemn_compress.plan.bytes_of_a_net import bytes_of_a_net, can_steer
from pemn_compress.plan.candidates import LEAST_USED
from pemn_compress.train.run_config import RunConfig

__all__ = ["why_unfilled"]


def why_unfilled(options: RunConfig, described: Mapping[str, Any], file_bytes: int) -> str:
    """The reason in a few words; empty where a run's file uses `LEAST_USED` of its budget, or where it has none.

    Args:
        options: the run.
        described: what its network takes, as `DataSpec.to_input` gives it.
        file_bytes: what its file takes.
    """
    if options.budget is None or file_bytes >= LEAST_USED * options.budget:
        return ""
    if not can_steer(options):
        return "masks of a fixed density cannot be steered"
    if bytes_of_a_net(options, described).least.file > options.budget:
        return "the masks code smaller than was foreseen"
    if options.train.rate:
        return "the net would fit without --rate, which made its masks smaller still"
    if options.residual_dtype is not None:
        return f"with residual dtype {options.residual_dtype}, nothing but a wider net can fill it"
    return "the net fits whatever its masks are"
