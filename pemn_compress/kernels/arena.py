"""Many small arrays for a device, in one copy."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch

__all__ = ["Arena"]

_ALIGNMENT = 16


class Arena:
    """Collects arrays, sends them together, and knows where each of them lies on the device."""

    def __init__(self) -> None:
        self._arrays: list[npt.NDArray[Any]] = []
        self._offsets: list[int] = []
        self._size = 0
        self._buffer = torch.empty(0, dtype=torch.uint8)

    def add(self, array: npt.NDArray[Any]) -> int:
        """Take an array and return its number."""
        self._arrays.append(np.ascontiguousarray(array))
        self._offsets.append(self._size)
        self._size += -(-array.nbytes // _ALIGNMENT) * _ALIGNMENT
        return len(self._arrays) - 1

    def send(self, device: torch.device) -> None:
        """Copy everything to the device."""
        pinned = device.type == "cuda"
        staged = torch.empty(max(1, self._size), dtype=torch.uint8, pin_memory=pinned)
        view = staged.numpy()
        for offset, array in zip(self._offsets, self._arrays, strict=True):
            view[offset : offset + array.nbytes] = array.reshape(-1).view(np.uint8)
        # The pinned buffer outlives the copy: torch's allocator gives it out again only when the stream is past it.
        self._buffer = staged.to(device, non_blocking=True)

    def address(self, number: int) -> int:
        """Return where an array begins on the device, once it was sent."""
        return self._buffer.data_ptr() + self._offsets[number]

    def tensor(self, number: int) -> torch.Tensor:
        """Return the bytes of an array on the device, uint8."""
        begin = self._offsets[number]
        return self._buffer[begin : begin + self._arrays[number].nbytes]
