"""The dense weights of a `.pemn` file as safetensors, rebuilt and written one tensor at a time."""

from __future__ import annotations

import os
from collections.abc import Callable

import torch

from pemn_compress.loading import rebuild_state
from pemn_compress.rebuild import check_dtype
from pemn_compress.safetensors_layout import layout
from pemn_formats.atomic import atomic_write
from pemn_formats.bits import as_bytes
from pemn_formats.bundle import select_task
from pemn_formats.dense import check_memory, dense_entries, largest_entry
from pemn_formats.in_turn import in_turn
from pemn_formats.reader import Reader

__all__ = ["write_dense"]


def write_dense(
    reader: Reader,
    path: str | os.PathLike[str],
    *,
    task: str | None = None,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    memory_budget: int | None = None,
    force: bool = False,
    done: Callable[[str], None] = lambda part: None,
) -> None:
    """Write the state dict of a model, as `load_file` gives it, to a safetensors file, whole or not at all.

    The file is the one that `safetensors.torch.save_file` writes; tied weights, which that refuses, stand under both
    names. Beside the reader, one tensor is held, packed and dense. `done` is called with `decoding`, `rebuilding` and
    `writing` after each such part of each tensor. Raises `FormatError` for a damaged file and for a tensor above the
    memory budget (None: what the machine has free), `PemnError` where the file cannot be put.
    """
    check_dtype(dtype)
    model, name = select_task(reader.manifest, task), str(dtype).removeprefix("torch.")
    check_memory(largest_entry(model, name), memory_budget, f"its largest tensor, packed and in {name},")
    header, starts = layout(dense_entries(model, name), {"format": "pt"})
    names: dict[str, list[str]] = {}
    for alias, target in model.aliases.items():
        names.setdefault(target, []).append(alias)
    with atomic_write(path, force=force) as file:
        file.write(header)
        pieces = in_turn(reader, task)
        while (piece := next(pieces, None)) is not None:
            done("decoding")
            state = rebuild_state(piece, device=device, dtype=dtype)
            dense = {each: _bytes(tensor) for each, tensor in state.items()}
            done("rebuilding")
            for each, values in dense.items():
                for under in (each, *names.get(each, ())):
                    file.seek(starts[under])
                    file.write(values)
            del piece, state, dense, values
            done("writing")


def _bytes(tensor: torch.Tensor) -> memoryview:
    plain = tensor.detach().cpu()
    # numpy has no bfloat16.
    return as_bytes((plain.view(torch.int16) if plain.dtype == torch.bfloat16 else plain).numpy())
