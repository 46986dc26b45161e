"""The best epoch so far: which one it is, and its weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from pemn_compress.train.evaluate import Evaluation

__all__ = ["is_better", "remember"]


def is_better(found: Evaluation, best: Mapping[str, Any], split: str) -> bool:
    """Whether an epoch beats the remembered one (empty: none yet): by accuracy, then by loss; older wins ties."""
    if not best:
        return True
    record = best["evaluations"][split]
    return (found.accuracy, -found.loss) > (record["accuracy"], -record["loss"])


def remember(
    model: nn.Module, *, epoch: int, held_out: Mapping[str, Evaluation], density: float | None, size: int
) -> dict[str, Any]:
    """What `best.pt` holds: a copy of the weights on the CPU, and what was measured with them."""
    return {
        "epoch": epoch,
        "model": {name: value.detach().cpu().clone() for name, value in model.state_dict().items()},
        "evaluations": {split: result.to_dict() for split, result in held_out.items()},
        "density": density,
        "bytes": size,
    }
