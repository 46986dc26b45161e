"""The learning rate of every step."""

from __future__ import annotations

import math

from pemn_compress.train.config import SCHEDULES
from pemn_formats.errors import PemnError

__all__ = ["learning_rate"]

_WARM_UP = 0.05


def learning_rate(schedule: str, peak: float, step: int, steps_per_epoch: int, epochs: int) -> float:
    """The rate of step `step`, counted from 0 over the whole run.

    `piecewise` is the reference's (yueb17/PEMN): linear from 0 to `peak` at 40 % of the epochs, to a twentieth of it at
    80 %, to 0 at the end, read at the end of each step. `cosine` rises linearly over the first 5 % of the steps and
    falls along a half cosine; its last step is still above 0.

    Raises:
        PemnError: an unknown schedule.
    """
    total = steps_per_epoch * epochs
    if schedule == "piecewise":
        done = (step + 1) / total
        if done <= 0.4:
            return peak * done / 0.4
        if done <= 0.8:
            return peak + (peak / 20 - peak) * (done - 0.4) / 0.4
        return max(0.0, peak / 20 * (1 - done) / 0.2)
    if schedule == "cosine":
        warm = max(1, round(_WARM_UP * total))
        if step < warm:
            return peak * (step + 1) / warm
        return peak * 0.5 * (1 + math.cos(math.pi * (step - warm + 0.5) / max(1, total - warm)))
    raise PemnError(f"schedule must be one of {', '.join(SCHEDULES)}, found {schedule!r}")
