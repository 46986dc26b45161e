"""From a `.pemn` file to tensors, or to a plain model that has no trace of masks."""

from __future__ import annotations

import torch
from torch import nn

from pemn_compress.arriving import Arriving, worthwhile
from pemn_compress.decoded import (
    Weights,
    blamed_on_the_file,
    fill_model,
    held,
    rebuild_model,
    rebuild_state,
    registered,
)
from pemn_compress.devices import checked_device
from pemn_compress.filling import state_shapes
from pemn_compress.misfit import check_fit, check_meta
from pemn_compress.rebuild import check_dtype
from pemn_compress.swapping import lies_on
from pemn_formats.bundle import select_task
from pemn_formats.content import Content
from pemn_formats.dense import check_memory, dense_bytes
from pemn_formats.limits import DEFAULT_MEMORY_BUDGET
from pemn_formats.reader import Reader
from pemn_formats.source import Readable
from pemn_formats.streams import Progress

__all__ = [
    "check_room_for_weights",
    "checked_device",
    "fill_model",
    "load_file",
    "load_model",
    "rebuild_model",
    "rebuild_state",
]


def load_file(
    path: Readable,
    *,
    task: str | None = None,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    memory_budget: int | None = None,
    threads: int | None = None,
    mmap: bool = False,
    progress: Progress | None = None,
) -> dict[str, torch.Tensor]:
    """Return the dense state dict of a `.pemn` file, by plain names, as `safetensors.torch.load_file` does.

    Floating tensors come in `dtype` (float32, float16 or bfloat16), rounded once; others as they were saved. Masks
    travel packed to `device` and are expanded there. `task` names the model that is wanted of a bundle.
    `memory_budget` bounds the bytes that the dense weights take, with the masks and values that they are made from
    (None: what the machine has free, and 4 GiB of masks and values); `threads` (None: as many as torch uses) decode
    and expand; `mmap` maps the file instead of reading it; `progress` is called with the bytes read and the bytes in
    all. Raises `FormatError` for a damaged or foreign file and for one above the budget; `PemnError` for one that
    cannot be opened, a bundle without its `task` (the message lists them), a patch, or a missing device.

    >>> import torch, io, tempfile, pemn_compress as pemn
    >>> model = pemn.mask_(torch.nn.Linear(8, 4))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = pemn.save_model(model, f"{folder}/net.pemn")
    ...     weights = pemn.load_file(f"{folder}/net.pemn")
    >>> bool((weights["weight"] == model.weight).all())
    True
    """
    device = checked_device(device)
    threads = torch.get_num_threads() if threads is None else threads
    with _opened(path, memory_budget, threads, mmap, progress) as reader:
        check_room_for_weights(reader, task, device=device, dtype=dtype, memory_budget=memory_budget)
        content, weights = _decoded(reader, task, device, dtype, on_the_way=worthwhile(device))
    return rebuild_state(content, device=device, dtype=dtype, threads=threads, weights=weights)


def load_model(
    path: Readable,
    *,
    task: str | None = None,
    into: nn.Module | None = None,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    packed: bool = False,
    memory_budget: int | None = None,
    threads: int | None = None,
    mmap: bool = False,
    progress: Progress | None = None,
) -> nn.Module:
    """Return a plain model with the weights of a `.pemn` file, in evaluation mode, on `device` in `dtype`.

    The registered architecture that the file names is built; a model of another class is passed as `into`, filled in
    place and returned. Nothing is imported by a name that stands in the file. `packed` keeps every masked weight as
    its packed mask, one bit a weight (two for `ternary`), for inference: linear layers and 1x1 convolutions compute
    with it, others expand it when their forward pass reads it. Errors as `load_file`; `PemnError` also where neither
    the file nor the caller says which model, and where names or shapes of `into` differ.
    """
    device = checked_device(device)
    threads = torch.get_num_threads() if threads is None else threads
    in_place = packed or (into is not None and not check_meta(into))
    opened = _opened(path, memory_budget, threads, mmap, progress)
    with opened as reader, blamed_on_the_file(into is None):
        if not in_place:
            check_room_for_weights(reader, task, device=device, dtype=dtype, memory_budget=memory_budget)
        on_the_way, model = not packed and worthwhile(device) and not _is_filled_in_place(into, device), into
        if on_the_way:  # no weights are made for a model that they do not fit
            manifest = select_task(reader.manifest, task)
            model = registered(manifest) if into is None else into
            check_fit(model, manifest, state_shapes(manifest))
        content, weights = _decoded(reader, task, device, dtype, on_the_way=on_the_way)
        return rebuild_model(
            content, into=model, device=device, dtype=dtype, threads=threads, packed=packed, weights=weights
        )


def check_room_for_weights(
    reader: Reader,
    task: str | None = None,
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    memory_budget: int | None = None,
) -> None:
    """Raise `FormatError` if one model of an open file would not fit into memory, decoded and dense.

    Without a budget, weights for a device with memory of its own are not counted. Errors as `load_file`.
    """
    check_dtype(dtype)
    model, name = select_task(reader.manifest, task), str(dtype).removeprefix("torch.")
    needed = model.prototype_bytes + model.mask_bytes + model.residual_bytes
    if memory_budget is not None or torch.device(device).type == "cpu":
        needed += dense_bytes(model, name)
    check_memory(needed, memory_budget, f"its {name} weights, with what they are made from,")


def _opened(path: Readable, memory_budget: int | None, threads: int, mmap: bool, progress: Progress | None) -> Reader:
    streams = DEFAULT_MEMORY_BUDGET if memory_budget is None else memory_budget
    return Reader.open(path, memory_budget=streams, threads=threads, mmap=mmap, progress=progress)


def _decoded(
    reader: Reader, task: str | None, device: torch.device, dtype: torch.dtype, *, on_the_way: bool
) -> tuple[Content, Weights]:
    """A model, and those of its weights that were made on the device while it was decoded."""
    if not on_the_way:
        return reader.model(task), {}
    with Arriving(device, dtype) as arriving:
        content = reader.model(task, ready=arriving.take)
    return content, arriving.weights


def _is_filled_in_place(into: nn.Module | None, device: torch.device) -> bool:
    """Whether nothing may be written before the file is known to be sound: a model has no other place for weights."""
    return into is not None and not check_meta(into) and lies_on(held(into), device)
