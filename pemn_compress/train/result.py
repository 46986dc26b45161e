"""What a finished run is worth."""

from __future__ import annotations

import dataclasses
from typing import Any

from pemn_compress.train.evaluate import Evaluation

__all__ = ["FitResult"]


@dataclasses.dataclass(frozen=True)
class FitResult:
    """How a run ended; epochs count from 1, sizes are bytes, `seconds` sums the epochs of every part of the run.

    `fits` is false where the run has a budget and no epoch's file kept to it.
    """

    epochs: int
    best_epoch: int
    selected_on: str
    validation: Evaluation | None
    test: Evaluation
    density: float | None
    estimated_bytes: int
    seconds: float
    fits: bool = True

    def to_dict(self) -> dict[str, Any]:
        """The fields as JSON values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> FitResult:
        """The inverse of `to_dict`."""
        validation = fields["validation"] and Evaluation(**fields["validation"])
        return cls(**{**fields, "validation": validation, "test": Evaluation(**fields["test"])})
