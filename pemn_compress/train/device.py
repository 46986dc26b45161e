"""Which device a run uses."""

from __future__ import annotations

import torch

from pemn_formats.errors import PemnError

__all__ = ["resolve_device"]


def resolve_device(name: str) -> torch.device:
    """The device called `name`: `auto` (CUDA where there is one), `cpu`, `cuda` or `cuda:N`.

    Raises:
        PemnError: the name is none of these, or this machine has no such device.
    """
    if name == "auto":
        return torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cpu", "cuda"):
        raise PemnError(f"unknown device {name!r}; expected auto, cpu, cuda or cuda:N")
    if device.type == "cpu":
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise PemnError(f"device {name!r} asked for, but torch {torch.__version__} sees no CUDA device; use cpu")
    count = torch.cuda.device_count()
    if (device.index or 0) >= count:
        raise PemnError(f"device {name!r} asked for, but this machine has {count}; the last is cuda:{count - 1}")
    return torch.device("cuda", device.index or 0)
