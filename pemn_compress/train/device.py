"""Which device a run uses."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch

from pemn_compress.loading import checked_device
from pemn_formats.errors import PemnError

__all__ = ["cpu_threads", "resolve_device"]


def resolve_device(name: str) -> torch.device:
    """The device called `name`: `auto` (CUDA where there is one), `cpu`, `cuda` or `cuda:N`.

    Raises:
        PemnError: the name is none of these, or this machine has no such device.
    """
    if name == "auto":
        return torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")
    device = checked_device(name)
    if device.type == "cpu":
        return torch.device("cpu")
    if device.type != "cuda":
        raise PemnError(f"training runs on cpu or cuda, found device {name!r}")
    return torch.device("cuda", device.index or 0)


@contextlib.contextmanager
def cpu_threads(count: int | None) -> Iterator[None]:
    """Let torch use `count` threads inside the block; None changes nothing."""
    before = torch.get_num_threads()
    if count is not None:
        torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
