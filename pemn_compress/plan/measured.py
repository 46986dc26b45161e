"""Which nets were measured for files of about a size: the presets that carry a budget."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from pemn_compress.train.presets import PRESETS

__all__ = ["Measured", "measured_near"]

_NEAR = 1.5  # times larger or smaller
_SIDES = (24, 48)  # of images that resemble those of the measurements, 32 pixels


@dataclasses.dataclass(frozen=True)
class Measured:
    """A preset whose net learned most among those tried for its budget, be it one (`benchmarks/recipes.py`)."""

    preset: str
    budget: int
    model: str
    model_args: Mapping[str, int]

    @property
    def shape(self) -> str:
        """The net without its width, as in `resnet, depth 14`."""
        return f"{self.model}, depth {self.model_args['depth']}"

    @property
    def options(self) -> str:
        """The options that ask for such a net at another budget."""
        return f"--model {self.model} --depth {self.model_args['depth']}"


def measured_near(budget: int, described: Mapping[str, Any]) -> Measured | None:
    """The preset whose budget is the nearest, None where none is near or the images are no small photographs."""
    low, high = _SIDES
    if described["channels"] != 3 or not all(low <= side <= high for side in described["size"]):
        return None
    sized = [
        Measured(name, preset["budget"], preset["model"], preset["model_args"])
        for name, preset in PRESETS.items()
        if "budget" in preset
    ]
    best = min(sized, key=lambda each: max(budget, each.budget) / min(budget, each.budget))
    return best if max(budget, best.budget) <= _NEAR * min(budget, best.budget) else None
