"""Which device a run uses."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

import torch

from pemn_compress.loading import checked_device
from pemn_compress.train.distributed import ranks
from pemn_formats.errors import PemnError

__all__ = ["cpu_threads", "resolve_device", "seeded"]


def resolve_device(name: str) -> torch.device:
    """The device called `name`: `auto` (CUDA where there is one), `cpu`, `cuda` or `cuda:N`.

    `cuda` is torch's current device: the first one, unless somebody chose, as `process_group` does for each process.

    Raises:
        PemnError: the name is none of these, or this machine has no such device, or not one for each process.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    device = checked_device(name)
    if device.type == "cpu":
        return torch.device("cpu")
    if device.type != "cuda":
        raise PemnError(f"training runs on cpu or cuda, found device {name!r}")
    numbered = ":" in name
    here, count = int(os.environ.get("LOCAL_WORLD_SIZE", 1)), torch.cuda.device_count()
    if ranks().size > 1 and here > 1 and (numbered or here > count):
        raise PemnError(
            f"{here} processes need a CUDA device each, found device {name!r} and {count} of them; "
            "use --device cuda with at most as many processes, or --device cpu"
        )
    return device if numbered else torch.device("cuda", torch.cuda.current_device())


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


@contextlib.contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Let torch draw from `seed` inside the block, on the CPU and on `device`; its own state is left as it was."""
    with torch.random.fork_rng(devices=[device.index or 0] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield
