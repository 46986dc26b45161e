"""Triton kernels. Nothing here imports Triton until a CUDA device is there to use it."""

from __future__ import annotations

import functools
import importlib.util
import warnings

import torch

__all__ = ["usable"]


def usable(device: torch.device | str) -> bool:
    """Say whether the kernels run on a device, so that the torch path can serve where they do not.

    The first question about a CUDA device compiles a kernel, runs it and compares its bytes.
    """
    device = torch.device(device)
    if device.type != "cuda" or importlib.util.find_spec("triton") is None:
        return False
    return _proven(torch.cuda.current_device() if device.index is None else device.index)


@functools.cache
def _proven(index: int) -> bool:
    try:
        from pemn_compress.kernels.known_answer import differences

        wrong = differences(torch.device("cuda", index))
    except Exception as error:  # noqa: BLE001  Triton fails in many ways: no compiler, no driver, an old device
        wrong = f"{type(error).__name__}: {error}".splitlines()[0]
    if wrong:
        warnings.warn(f"Triton kernels are not used on cuda:{index} ({wrong}); torch serves instead", stacklevel=4)
    return not wrong
