"""An exponential moving average of the weights, to evaluate and export in place of the last ones."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from pemn_compress.train.distributed import mean_

__all__ = ["Average"]


class Average:
    """Follows every floating entry of a model's state dict: scores, residual, and BatchNorm's running statistics.

    After update number n the past weighs min(decay, (1 + n) / (10 + n)), so the random start is soon forgotten.
    Statistics are averaged as the weights are, since those of the last weights do not fit the averaged ones; counters
    stay the last ones.

    Args:
        model: what is trained; its tensors are followed where they lie.
        decay: how much of the average stays at each step, in [0, 1); 0 averages nothing and costs nothing.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self._decay, self._updates = decay, 0
        found = model.state_dict() if decay else {}
        self._live = {name: value for name, value in found.items() if value.is_floating_point()}
        self._means = {name: value.clone() for name, value in self._live.items()}

    @torch.no_grad()
    def update(self) -> None:
        """Take the weights after one more step."""
        if not self._means:
            return
        self._updates += 1
        past = min(self._decay, (1 + self._updates) / (10 + self._updates))
        get_ema_multi_avg_fn(past)(list(self._means.values()), list(self._live.values()), self._updates)  # type: ignore[no-untyped-call]

    def settle(self) -> None:
        """Make the averages the same in all processes, as `settle_` makes the model."""
        for value in self._means.values():
            mean_(value)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Let the model have the averages inside the block, and its own weights, bit for bit, after it."""
        own = {name: value.clone() for name, value in self._live.items()}
        _copy(self._means, self._live)
        try:
            yield
        finally:
            _copy(own, self._live)

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps of the averages; empty when there are none."""
        return {"updates": self._updates, "means": dict(self._means)} if self._means else {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take what `state_dict` gave for the same model; raises KeyError for another one's."""
        if self._means:
            self._updates = state["updates"]
            _copy({name: state["means"][name] for name in self._means}, self._means)


@torch.no_grad()
def _copy(source: dict[str, Tensor], target: dict[str, Tensor]) -> None:
    for name, value in target.items():
        value.copy_(source[name])
