"""Dense checkpoints of a state dict, as files."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import safetensors.torch
import torch
import zstandard

__all__ = ["LEVEL", "dense_files", "write_dense"]

LEVEL = 19


def write_dense(state: Mapping[str, torch.Tensor], folder: Path) -> Iterator[tuple[str, Path]]:
    """Write a state dict by torch.save and safetensors in float32 and float16; yield what each is, and its path."""
    for dtype in (torch.float32, torch.float16):
        narrow = {name: value.to(dtype) if value.is_floating_point() else value for name, value in state.items()}
        bits = str(dtype).removeprefix("torch.")
        path = folder / f"{bits}.pt"
        torch.save(narrow, path)
        yield f"torch.save {bits}", path
        path = folder / f"{bits}.safetensors"
        safetensors.torch.save_file(narrow, path)
        yield f"safetensors {bits}", path


def dense_files(state: Mapping[str, torch.Tensor], folder: Path, *, level: int | None = LEVEL) -> dict[str, int]:
    """Return the size of every dense file in bytes, and through zstd at `level` (None: uncompressed files only)."""
    sizes: dict[str, int] = {}
    for name, path in write_dense(state, folder):
        sizes[name] = path.stat().st_size
        if level is not None:
            packed = path.with_name(f"{path.name}.zst")
            compressor = zstandard.ZstdCompressor(level=level, threads=os.cpu_count() or 1)
            with path.open("rb") as source, packed.open("wb") as target:
                compressor.copy_stream(source, target, size=sizes[name])
            sizes[f"{name} zstd-{level}"] = packed.stat().st_size
            packed.unlink()
        path.unlink()
    return sizes
