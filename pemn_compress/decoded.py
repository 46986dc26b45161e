"""What was decoded from a file as dense tensors, or as the plain model that they are the weights of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import TypeAlias, TypeVar

import numpy as np
import torch
from torch import nn

from pemn_compress.filling import fill_state_, fill_weights_, state_shapes
from pemn_compress.maskable import plain_name
from pemn_compress.misfit import MisfitError, check_fit, check_meta, check_room
from pemn_compress.models import Architecture, build
from pemn_compress.rebuild import check_dtype, reconstruct_many
from pemn_compress.swapping import lies_on, swap_
from pemn_formats.bundle import select_task
from pemn_formats.content import Content
from pemn_formats.errors import FormatError, PemnError
from pemn_formats.manifest import Manifest
from pemn_formats.reconstruct import residual_state

__all__ = ["Weights", "blamed_on_the_file", "fill_model", "held", "rebuild_model", "rebuild_state", "registered"]

Weights: TypeAlias = Mapping[str, torch.Tensor]
Model = TypeVar("Model", bound=nn.Module)


def rebuild_state(
    content: Content,
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    threads: int | None = None,
    weights: Weights = MappingProxyType({}),
) -> dict[str, torch.Tensor]:
    """Return the dense state dict of a decoded content; as `load_file`. `weights` are those that are made already."""
    check_dtype(dtype)
    content = select_task(content)
    left = [tensor for tensor in content.masked if tensor.name not in weights]
    state = dict(weights)
    if torch.device(device).type == "cpu":
        state |= {tensor.name: torch.empty(tensor.shape, dtype=dtype) for tensor in left}
        fill_weights_(content, [(tensor, state[tensor.name]) for tensor in left], threads=threads)
    else:
        rebuilt = reconstruct_many(content, left, device, dtype)
        state |= {tensor.name: weight for tensor, weight in zip(left, rebuilt, strict=True)}
    for name, values in residual_state(content).items():
        # Decoded arrays are views of the file's bytes; the copy also makes them aligned and writable.
        tensor = torch.from_numpy(np.array(values))
        # Rounded here: not every device has float64.
        state[name] = (tensor.to(dtype) if tensor.is_floating_point() else tensor).to(device)
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
    weights: Weights = MappingProxyType({}),
) -> nn.Module:
    """Return the plain model of a decoded content; as `load_model`. `weights` as `rebuild_state`."""
    content = select_task(content)
    with blamed_on_the_file(into is None):
        model = registered(content) if into is None else into
        if packed:
            from pemn_compress.packed_loading import fill_packed

            return fill_packed(model, content, device=device, dtype=dtype)
        return fill_model(model, content, device=device, dtype=dtype, threads=threads, weights=weights)


def fill_model(
    model: Model,
    content: Content,
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    threads: int | None = None,
    weights: Weights = MappingProxyType({}),
) -> Model:
    """Put the weights of a decoded content into a plain model, in evaluation mode, and return it.

    Every name, shape and BatchNorm eps is compared first. A model on the meta device takes new tensors. So do the
    parameters of one that lies on another device, whose old values never travel; they remain the same objects. A model
    on `device` is written over where it lies, after a change to `dtype` if it needs one. Raises `PemnError` for a
    model that is masked, `MisfitError` where it is not the file's, naming the first difference. `weights` as
    `rebuild_state`.
    """
    check_dtype(dtype)
    check_fit(model, content, state_shapes(content))
    on_meta = check_meta(model)
    own = held(model)
    if on_meta or own.keys() != model.state_dict().keys():
        # Modules that make up state-dict entries of their own know how to take them back.
        state = rebuild_state(content, device=device, dtype=dtype, threads=threads, weights=weights)
        if not on_meta:
            model.to(device=device, dtype=dtype)
        model.load_state_dict(_tied(model, state) if on_meta else state, strict=True, assign=on_meta)
    elif lies_on(own, device):
        model.to(device=device, dtype=dtype)  # buffers that no file holds may lie elsewhere
        plain = {plain_name(name): value for name, value in held(model).items()}
        fill_state_(plain, content, threads=threads)
    else:
        state = rebuild_state(content, device=device, dtype=dtype, threads=threads, weights=weights)
        swap_(model, own, {name: state[plain_name(name)] for name in own}, device, dtype)
    return model.eval()


@contextmanager
def blamed_on_the_file(built: bool) -> Iterator[None]:
    """A network that the file itself names and does not fit is an error of the file."""
    try:
        yield
    except MisfitError as error:
        if built:
            raise FormatError(f"the file does not fit the network that it names: {error}") from None
        raise


def held(model: nn.Module) -> dict[str, torch.Tensor]:
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


def registered(content: Content | Manifest) -> nn.Module:
    """Return the network that a file names, on the meta device if nothing in it needs real values.

    Raises `PemnError` where it names none, `FormatError` for one that cannot be built.
    """
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
