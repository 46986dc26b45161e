"""Devices by name, and whether they are here."""

from __future__ import annotations

import torch

from pemn_formats.errors import PemnError

__all__ = ["checked_device"]

_KNOWN = "cpu, cuda, cuda:N, mps or xpu"


def checked_device(device: torch.device | str) -> torch.device:
    """Return a device that exists; raise `PemnError` with the ones that do otherwise."""
    try:
        found = torch.device(device)
    except RuntimeError:
        raise PemnError(f"unknown device {str(device)!r}; use {_KNOWN}") from None
    if found.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if count == 0:
            raise PemnError(f"device {found} was asked for, but torch sees no CUDA device here; use --device cpu")
        if found.index is not None and found.index >= count:
            raise PemnError(
                f"device {found} was asked for, but there are {count} CUDA devices (cuda:0 to cuda:{count - 1})"
            )
    elif found.type != "cpu":
        _try(found)
    return found


def _try(device: torch.device) -> None:
    """Raise `PemnError` for one of torch's many kinds of device if this torch, or this machine, has none."""
    try:
        torch.zeros(1, device=device).item()
    except (RuntimeError, AssertionError, ImportError) as error:
        reason = str(error).partition("\n")[0]
        raise PemnError(f"device {device} cannot be used here ({reason}); use {_KNOWN}") from None
