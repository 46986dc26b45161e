"""What a model in training is worth: accuracy on held-out images, densities, and the file it would make."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from pemn_compress.data import Splits
from pemn_compress.train.distributed import evaluate_together
from pemn_compress.train.evaluate import Evaluation
from pemn_compress.train.rate_control import RateControl
from pemn_compress.train.size_estimate import MaskCount, count_masks, mask_bits

__all__ = ["Measured", "measure"]


@dataclasses.dataclass(frozen=True)
class Measured:
    """Evaluations by split, the masks, and the estimate of the file's bytes."""

    held_out: Mapping[str, Evaluation]
    masks: Sequence[MaskCount]
    size: int

    @property
    def density(self) -> float | None:
        """The fraction of all masked weights that are not zero; None for a dense model."""
        return sum(mask.nonzero for mask in self.masks) / self._weights if self.masks else None

    @property
    def bits_per_weight(self) -> float | None:
        """The Shannon bound of the masks over their weights; None for a dense model."""
        return sum(map(mask_bits, self.masks)) / self._weights if self.masks else None

    @property
    def _weights(self) -> int:
        return sum(mask.count for mask in self.masks)

    def to_report(self) -> dict[str, Any]:
        """The fields of an `EpochReport` that are measured here."""
        validation, test = self.held_out.get("validation"), self.held_out.get("test")
        return {
            "validation_loss": validation.loss if validation else None,
            "validation_accuracy": validation.accuracy if validation else None,
            "test_loss": test.loss if test else None,
            "test_accuracy": test.accuracy if test else None,
            "density": self.density,
            "densities": {mask.name: mask.density for mask in self.masks},
            "bits_per_weight": self.bits_per_weight,
            "estimated_bytes": self.size,
        }


def measure(
    model: nn.Module, splits: Splits, watched: Sequence[str], device: torch.device, control: RateControl
) -> Measured:
    """Evaluate a model on the `watched` splits, all processes together, count its masks and foresee its file.

    What the file takes is for the run's `control` to say.
    """
    held_out = {
        split: evaluate_together(model, getattr(splits, split), splits.spec, device=device) for split in watched
    }
    masks = count_masks(model)
    return Measured(held_out, masks, control.foresee(model, masks, splits.spec.to_input()))
