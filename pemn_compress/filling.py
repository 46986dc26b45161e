"""Weights written into tensors that exist already, so that no second copy of a model is ever made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch.autograd.graph import increment_version

from pemn_compress.rebuild import reconstruct_into
from pemn_formats.content import Content, MaskedTensor
from pemn_formats.expand import expand_into
from pemn_formats.manifest import Manifest
from pemn_formats.reconstruct import residual_state

__all__ = ["fill_state_", "fill_weights_", "state_shapes"]

_FLOATS = (torch.float32, torch.float16, torch.bfloat16)


def state_shapes(content: Content | Manifest) -> dict[str, tuple[int, ...]]:
    """Return the shape of every state-dict entry that a content gives a value to."""
    shapes = {tensor.name: tensor.shape for tensor in content.masked}
    for entry in content.residual:
        shapes |= dict.fromkeys(entry.state_names, entry.shape[1:] if entry.kind == "bn" else entry.shape)
        if entry.kind == "bn":
            shapes[entry.state_names[-1]] = ()  # the count of batches
    return shapes | {alias: shapes[target] for alias, target in content.aliases.items()}


@torch.no_grad()
def fill_state_(held: Mapping[str, torch.Tensor], content: Content, *, threads: int | None = None) -> None:
    """Write a content's values over tensors by state-dict name, each keeping its storage, device and dtype.

    `held` has the names and shapes of `state_shapes`. `threads` None is as many as torch uses.
    """
    fill_weights_(content, [(tensor, held[tensor.name]) for tensor in content.masked], threads=threads)
    for name, values in residual_state(content).items():
        # Decoded arrays are views of the file's bytes; the copy also makes them aligned and writable.
        held[name].copy_(torch.from_numpy(np.array(values)).to(held[name].dtype))
    for alias, target in content.aliases.items():
        if held[alias].data_ptr() != held[target].data_ptr():
            held[alias].copy_(held[target])


@torch.no_grad()
def fill_weights_(
    content: Content, targets: Sequence[tuple[MaskedTensor, torch.Tensor]], *, threads: int | None = None
) -> None:
    """Write the dense weights of masked tensors over tensors of their shapes.

    On the CPU, into contiguous tensors of float32, float16 or bfloat16, without a temporary of a tensor's size;
    elsewhere as `reconstruct_into`, all tensors of a device and dtype together.
    """
    direct: list[tuple[MaskedTensor, npt.NDArray[np.generic]]] = []
    apart: dict[tuple[torch.device, torch.dtype], list[tuple[MaskedTensor, torch.Tensor]]] = {}
    for tensor, place in targets:
        if place.device.type == "cpu" and place.is_contiguous() and place.dtype in _FLOATS:
            direct.append((tensor, _array(place)))
        else:
            # float64 takes the float32 weights, which are exact in it.
            dtype = place.dtype if place.dtype in _FLOATS else torch.float32
            apart.setdefault((place.device, dtype), []).append((tensor, place))
    for (_, dtype), members in apart.items():
        reconstruct_into(content, members, dtype)
    expand_into(content, direct, threads=torch.get_num_threads() if threads is None else threads)
    for _, place in targets:
        # What autograd saved of the old values must not be taken for theirs.
        increment_version(place)


def _array(place: torch.Tensor) -> npt.NDArray[np.generic]:
    plain = place.detach()
    if plain.dtype == torch.bfloat16:
        return plain.view(torch.int16).numpy().view(np.uint16)
    array: npt.NDArray[np.generic] = plain.numpy()
    return array
