"""The best epoch so far: which one it is, and its weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from pemn_compress.train.evaluate import Evaluation
from pemn_compress.train.measure import Measured

__all__ = ["is_better", "remember"]


def is_better(found: Evaluation, best: Mapping[str, Any], split: str, *, admitted: bool = True) -> bool:
    """Whether an epoch beats the remembered one (empty: none yet): by accuracy, then by loss; older wins ties.

    One that is `admitted` beats any that was not.
    """
    if not best:
        return True
    record = best["evaluations"][split]
    before = (best.get("admitted", True), record["accuracy"], -record["loss"])
    return (admitted, found.accuracy, -found.loss) > before


def remember(model: nn.Module, found: Measured, *, epoch: int, admitted: bool = True) -> dict[str, Any]:
    """What `best.pt` holds: a copy of the weights on the CPU, and what was measured with them."""
    return {
        "epoch": epoch,
        "model": {name: value.detach().cpu().clone() for name, value in model.state_dict().items()},
        "evaluations": {split: result.to_dict() for split, result in found.held_out.items()},
        "density": found.density,
        "bytes": found.size,
        "admitted": admitted,
    }
