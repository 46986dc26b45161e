"""How far the logits of a rebuilt model lie from those of the model it was made from."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import torch
from torch import nn

from pemn_compress.data import DataSpec, ImageSet, normalise
from pemn_formats.errors import PemnError
from pemn_formats.values import unit_values

__all__ = ["DEFAULT_TOLERANCE", "LogitChange", "check_change", "held_out_inputs", "logit_change", "synthetic_inputs"]

DEFAULT_TOLERANCE = 0.25
"""Of the logits' standard deviation. The largest of 24 small nets (benchmarks/residual_dtypes.py): float16 0.003, with
8-bit layers 0.014; log8 0.21, its median 0.05."""

_HELD_OUT = 256
_SYNTHETIC = 64
_AT_ONCE = 64


@dataclasses.dataclass(frozen=True)
class LogitChange:
    """The largest change of a logit, the standard deviation of all logits, and the predictions that changed.

    `source` says what the `count` inputs were: test images, or synthetic.
    """

    source: str
    count: int
    largest: float
    deviation: float
    changed_predictions: int

    @property
    def relative(self) -> float:
        """The largest change in standard deviations (as it stands where all logits are equal)."""
        return self.largest / self.deviation if self.deviation else self.largest

    def to_dict(self) -> dict[str, Any]:
        """The fields and the relative change as JSON values."""
        return {**dataclasses.asdict(self), "relative": self.relative}


def held_out_inputs(images: ImageSet, spec: DataSpec) -> torch.Tensor:
    """Up to 256 images, evenly spread over the set, as the network takes them."""
    count = min(len(images), _HELD_OUT)
    return normalise(images.subset(torch.arange(count) * len(images) // count).images, spec)


def synthetic_inputs(spec: DataSpec) -> torch.Tensor:
    """Sixty-four images of normal noise in the shape that the network takes, always the same."""
    shape = (_SYNTHETIC, spec.channels, *spec.size)
    return torch.from_numpy(unit_values("normal", 0, 0, 0, math.prod(shape)).reshape(shape))


@torch.inference_mode()
def logit_change(
    model: nn.Module, rebuilt: nn.Module, inputs: torch.Tensor, source: str, device: torch.device | str = "cpu"
) -> LogitChange:
    """Compare two models in evaluation mode, already on `device`, on inputs of shape (n, channels, height, width).

    Raises:
        PemnError: one of them gives logits that are not finite.
    """
    before, after = (
        np.concatenate(
            [each(part.to(device)).float().cpu().numpy().astype(np.float64) for part in torch.split(inputs, _AT_ONCE)]
        )
        for each in (model, rebuilt)
    )
    for logits, which in ((before, "trained"), (after, "rebuilt")):
        if not np.isfinite(logits).all():
            raise PemnError(f"the {which} model gives logits that are not finite on {source}; it cannot be exported")
    return LogitChange(
        source=source,
        count=len(inputs),
        largest=float(np.abs(after - before).max()),
        deviation=float(before.std()),
        changed_predictions=int((after.argmax(1) != before.argmax(1)).sum()),
    )


def check_change(change: LogitChange, tolerance: float, remedy: str) -> None:
    """Raise `PemnError` with a remedy for a change above `tolerance`, in standard deviations of the logits."""
    if not tolerance >= 0:
        raise PemnError(f"the tolerance must be at least 0, found {tolerance}")
    if change.relative > tolerance:
        raise PemnError(
            f"rounding changes a logit by {change.relative:.3g} of their standard deviation and "
            f"{change.changed_predictions} of {change.count} predictions ({change.source}); the tolerance is "
            f"{tolerance:g}: {remedy}, or raise the tolerance"
        )
