"""From a `.pemn` file to tensors, or to a plain model that has no trace of masks."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import torch
from torch import nn

from pemn_compress.devices import checked_device
from pemn_compress.filling import fill_state_, fill_weights_, state_shapes
from pemn_compress.maskable import plain_name
from pemn_compress.misfit import MisfitError, check_fit, check_meta, check_room
from pemn_compress.models import Architecture, build
from pemn_compress.rebuild import check_dtype, reconstruct_many
from pemn_compress.swapping import lies_on, swap_
from pemn_formats.bundle import select_task
from pemn_formats.content import Content
from pemn_formats.dense import check_memory, dense_bytes
from pemn_formats.errors import FormatError, PemnError
from pemn_formats.limits import DEFAULT_MEMORY_BUDGET
from pemn_formats.reader import Reader
from pemn_formats.reconstruct import residual_state
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

Model = TypeVar("Model", bound=nn.Module)


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
        content = reader.model(task)
    return rebuild_state(content, device=device, dtype=dtype, threads=threads)


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
    with _opened(path, memory_budget, threads, mmap, progress) as reader:
        if not in_place:
            check_room_for_weights(reader, task, device=device, dtype=dtype, memory_budget=memory_budget)
        content = reader.model(task)
    return rebuild_model(content, into=into, device=device, dtype=dtype, threads=threads, packed=packed)


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


def rebuild_state(
    content: Content,
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    threads: int | None = None,
) -> dict[str, torch.Tensor]:
    """Return the dense state dict of a decoded content; as `load_file`."""
    check_dtype(dtype)
    content = select_task(content)
    if torch.device(device).type == "cpu":
        state = {tensor.name: torch.empty(tensor.shape, dtype=dtype) for tensor in content.masked}
        fill_weights_(content, [(tensor, state[tensor.name]) for tensor in content.masked], threads=threads)
    else:
        rebuilt = reconstruct_many(content, content.masked, device, dtype)
        state = {tensor.name: weight for tensor, weight in zip(content.masked, rebuilt, strict=True)}
    for name, values in residual_state(content).items():
        # Decoded arrays are views of the file's bytes; the copy also makes them aligned and writable.
        tensor = torch.from_numpy(np.array(values)).to(device)
        state[name] = tensor.to(dtype) if tensor.is_floating_point() else tensor
    for alias, target in content.aliases.items():
        state[alias] = state[target]
    return state


def rebuild_model(
    content: Content,
    *,
    into: nn.Module | None = None,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    threads: int | None = None,
    packed: bool = False,
) -> nn.Module:
    """Return the plain model of a decoded content; as `load_model`."""
    content = select_task(content)
    try:
        model = _registered(content) if into is None else into
        if packed:
            from pemn_compress.packed_loading import fill_packed

            return fill_packed(model, content, device=device, dtype=dtype)
        return fill_model(model, content, device=device, dtype=dtype, threads=threads)
    except MisfitError as error:
        if into is None:
            raise FormatError(f"the file does not fit the network that it names: {error}") from None
        raise


def fill_model(
    model: Model,
    content: Content,
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    threads: int | None = None,
) -> Model:
    """Put the weights of a decoded content into a plain model, in evaluation mode, and return it.

    Every name, shape and BatchNorm eps is compared first. A model on the meta device takes new tensors. So do the
    parameters of one that lies on another device, whose old values never travel; they remain the same objects. A model
    on `device` is written over where it lies, after a change to `dtype` if it needs one. Raises `PemnError` for a
    model that is masked, `MisfitError` where it is not the file's, naming the first difference.
    """
    check_dtype(dtype)
    check_fit(model, content, state_shapes(content))
    on_meta = check_meta(model)
    held = _held(model)
    if on_meta or held.keys() != model.state_dict().keys():
        # Modules that make up state-dict entries of their own know how to take them back.
        state = rebuild_state(content, device=device, dtype=dtype, threads=threads)
        if not on_meta:
            model.to(device=device, dtype=dtype)
        model.load_state_dict(_tied(model, state) if on_meta else state, strict=True, assign=on_meta)
    elif lies_on(held, device):
        model.to(device=device, dtype=dtype)  # buffers that no file holds may lie elsewhere
        plain = {plain_name(name): value for name, value in _held(model).items()}
        fill_state_(plain, content, threads=threads)
    else:
        state = rebuild_state(content, device=device, dtype=dtype, threads=threads)
        swap_(model, held, {name: state[plain_name(name)] for name in held}, device, dtype)
    return model.eval()


def _opened(path: Readable, memory_budget: int | None, threads: int, mmap: bool, progress: Progress | None) -> Reader:
    streams = DEFAULT_MEMORY_BUDGET if memory_budget is None else memory_budget
    return Reader.open(path, memory_budget=streams, threads=threads, mmap=mmap, progress=progress)


def _held(model: nn.Module) -> dict[str, torch.Tensor]:
    """The parameters and buffers themselves, by the names that they have in a state dict."""
    held: dict[str, torch.Tensor] = dict(model.named_parameters(remove_duplicate=False))
    stored = model.state_dict()
    return held | {name: value for name, value in model.named_buffers(remove_duplicate=False) if name in stored}


def _tied(model: nn.Module, state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The state with one parameter for all names that share one in the model, and one tensor in the file."""
    one: dict[tuple[int, int], nn.Parameter] = {}
    for name, old in model.named_parameters(remove_duplicate=False):
        if (value := state.get(name)) is not None:
            new = nn.Parameter(value, requires_grad=old.requires_grad)
            state[name] = one.setdefault((id(old), id(value)), new)
    return state


def _registered(content: Content) -> nn.Module:
    if content.architecture is None:
        raise PemnError("the file names no registered architecture; pass the model to fill (into=..., or --model)")
    architecture = Architecture(content.architecture["name"], content.architecture["args"])
    try:
        with torch.device("meta"):
            model = build(architecture)
    except PemnError as error:
        raise FormatError(f"the file asks for a network that cannot be built: {error}") from None
    if set(dict(model.named_buffers())) - set(model.state_dict()):
        # Buffers that no state dict carries get their values when the model is built for real, and only then.
        check_room(model, content)
        model = build(architecture)
    return model
