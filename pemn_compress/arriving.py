"""Weights made on a device while the rest of their file is still being read and decoded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Any

import torch

from pemn_compress.kernels.room import with_room
from pemn_compress.rebuild import check_dtype, reconstruct_many
from pemn_formats.content import Content, MaskedTensor

__all__ = ["Arriving", "worthwhile"]


def worthwhile(device: torch.device | str) -> bool:
    """Say whether masks are expanded on a device while others are decoded. On the CPU both want the same cores."""
    return torch.device(device).type != "cpu"


class Arriving:
    """Expands the masks that a reader hands over (`ready=` of `Reader.model`), while it decodes the next ones.

    On CUDA, copies from pinned memory and kernels go to a stream of their own, and what is enqueued on the caller's
    after the `with` block waits for them. `weights`, by name, are for nobody to see before the reader has returned: if
    it raises, they are dropped with this.

        with Arriving(device, dtype) as arriving:
            content = reader.model(ready=arriving.take)
    """

    def __init__(self, device: torch.device | str, dtype: torch.dtype) -> None:
        check_dtype(dtype)
        self.weights: dict[str, torch.Tensor] = {}
        self._device, self._dtype = torch.device(device), dtype
        self._tables: dict[Any, torch.Tensor] = {}
        self._stream: torch.cuda.Stream | None = None
        if self._device.type == "cuda":
            self._stream = torch.cuda.Stream(self._device)  # type: ignore[no-untyped-call]

    def take(self, content: Content, tensors: Sequence[MaskedTensor]) -> None:
        """Begin to make the weights of masked tensors."""
        # Memory of the caller's stream: it outlives this one, and goes back to where the next model asks for it.
        aside = self._stream is not None
        places = [with_room(tensor, self._dtype, self._device) for tensor in tensors] if aside else None
        with self._aside():
            made = reconstruct_many(content, tensors, self._device, self._dtype, places=places, tables=self._tables)
        self.weights |= {tensor.name: weight for tensor, weight in zip(tensors, made, strict=True)}

    def __enter__(self) -> Arriving:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Also after an error: the memory must not be given out again while something is still written there.
        if self._stream is not None:
            torch.cuda.current_stream(self._device).wait_stream(self._stream)

    @contextmanager
    def _aside(self) -> Iterator[None]:
        if self._stream is None:
            yield
            return
        self._stream.wait_stream(torch.cuda.current_stream(self._device))  # what used the memory before
        with torch.cuda.stream(self._stream):
            yield
