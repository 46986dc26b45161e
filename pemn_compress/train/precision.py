"""Mixed precision: what runs in half, and how the loss is scaled so that gradients survive it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

__all__ = ["Precision"]


class Precision:
    """Autocast and loss scaling for one device.

    Args:
        amp: `off`, `bfloat16`, `float16`, whose losses are scaled, or `auto`: float16 on CUDA, off elsewhere.
        device: where the model is.
    """

    def __init__(self, amp: str, device: torch.device) -> None:
        if amp == "auto":
            amp = "float16" if device.type == "cuda" else "off"
        self._device = device.type
        self._dtype = {"bfloat16": torch.bfloat16, "float16": torch.float16}.get(amp)
        self._scaler = torch.amp.GradScaler(device.type, enabled=self._dtype is torch.float16)

    def autocast(self) -> torch.autocast:
        """The context that the forward pass and the loss run in."""
        return torch.autocast(self._device, dtype=self._dtype, enabled=self._dtype is not None)

    def backward(self, loss: Tensor) -> None:
        """Add the gradients of the loss, scaled, to those of the parameters."""
        torch.autograd.backward(self._scaler.scale(loss))

    def step(self, optimizer: torch.optim.Optimizer, grad_clip: float | None) -> None:
        """Clip the norm of the gradient, as it is without the scale, over all parameters, and step."""
        if grad_clip is not None:
            self._scaler.unscale_(optimizer)
            parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
            torch.nn.utils.clip_grad_norm_(parameters, grad_clip)
        self._scaler.step(optimizer)
        self._scaler.update()

    def state_dict(self) -> dict[str, Any]:
        """The loss scale, to go into a checkpoint."""
        return self._scaler.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take the loss scale of a checkpoint."""
        if state and self._scaler.is_enabled():
            self._scaler.load_state_dict(state)
