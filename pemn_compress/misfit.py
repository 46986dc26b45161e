"""Whether a model is the one that a file is for."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils import parametrize

from pemn_compress.maskable import plain_name
from pemn_compress.packed_layers import PackedTensor
from pemn_formats.content import Content
from pemn_formats.errors import PemnError
from pemn_formats.manifest import Manifest
from pemn_formats.names import shown

__all__ = ["MisfitError", "check_fit", "check_meta", "check_room"]


class MisfitError(PemnError):
    """A model is not the one that a file is for."""


def check_fit(model: nn.Module, content: Content | Manifest, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Compare a model with a content that is to fill it, whose state dict has these shapes. Errors as `fill_model`."""
    if any(isinstance(module, PackedTensor) for module in model.modules()):
        raise PemnError("the model to fill is packed; pass a plain one (with packed=True for another packed one)")
    if any(parametrize.is_parametrized(module) for module in model.modules()):
        raise PemnError("the model to fill is parametrized; pass a plain one, or merge_ it first")
    wanted = {plain_name(name): tuple(value.shape) for name, value in model.state_dict().items()}
    for name, shape in wanted.items():
        if name not in shapes:
            raise MisfitError(f"the model has {shown(name)} of shape {list(shape)}, the file has no such tensor")
        if shape != shapes[name]:
            raise _differs(name, shapes[name], shape)
    for name in shapes:
        if name not in wanted:
            raise MisfitError(f"the file has {shown(name)}, the model has no such tensor")
    modules = dict(model.named_modules())
    for entry in content.residual:
        module = modules.get(entry.name)
        if entry.kind == "bn" and isinstance(module, _BatchNorm) and np.float32(module.eps) != entry.eps:
            raise MisfitError(
                f"{shown(entry.name)} has eps {module.eps} in the model, the file is made for {entry.eps}"
            )


def check_meta(model: nn.Module) -> bool:
    """Say whether a model waits on the meta device for its values.

    Raises `PemnError` where some of them are in no state dict, so that no file has them.
    """
    stored = model.state_dict()
    on_meta = any(value.is_meta for value in stored.values())
    for name, buffer in model.named_buffers():
        if on_meta and buffer.is_meta and name not in stored:
            raise PemnError(
                f"the buffer {shown(name)} of the model is on the meta device and in no state dict, so no file holds "
                "it; build the model on a real device"
            )
    return on_meta


def check_room(model: nn.Module, content: Content | Manifest) -> None:
    """Compare the file with the network that it names before that is allocated: it must hold about as many values."""
    wanted = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    for tensor in content.masked:
        if wanted.get(tensor.name, tensor.shape) != tensor.shape:
            raise _differs(tensor.name, tensor.shape, wanted[tensor.name])
    held = sum(tensor.numel for tensor in content.masked) + 4 * sum(entry.numel for entry in content.residual)
    needed = sum(value.numel() for value in model.state_dict().values())
    if needed > 2 * held + 1024:
        raise MisfitError(f"the file holds {held} values, its network {content.architecture} needs {needed}")


def _differs(name: str, found: tuple[int, ...], expected: tuple[int, ...]) -> MisfitError:
    return MisfitError(f"{shown(name)} has shape {list(found)} in the file, {list(expected)} in the model")
