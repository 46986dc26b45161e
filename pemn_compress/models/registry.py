"""Architectures by name: the only nets that a file may ask for, each argument checked before anything is allocated."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from pemn_compress.models.arguments import Definition, Value
from pemn_compress.models.convmixer import CONVMIXER
from pemn_compress.models.mlp import MLP_NET
from pemn_compress.models.resnet import RESNET
from pemn_compress.models.vit import VIT
from pemn_formats.errors import PemnError

__all__ = ["MAX_VALUES", "Architecture", "architecture_of", "build", "check", "data_arguments", "names"]

MAX_VALUES = 1 << 31
"""The most parameters and buffer values a registered net may have."""

_DEFINITIONS: dict[str, Definition] = {d.name: d for d in (CONVMIXER, RESNET, VIT, MLP_NET)}
_ATTRIBUTE = "_pemn_architecture"


@dataclass(frozen=True)
class Architecture:
    """A registered net: its name and every argument, defaults filled in, so that equal nets compare equal."""

    name: str
    args: Mapping[str, Value] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return `{"name": ..., "args": {...}}`, as a file stores it."""
        return {"name": self.name, "args": dict(self.args)}


def names() -> tuple[str, ...]:
    """Return the registered names in alphabetical order."""
    return tuple(sorted(_DEFINITIONS))


def check(name: str, args: Mapping[str, object] | None = None) -> Architecture:
    """Return the canonical architecture; raise PemnError for an unknown name or an argument that does not fit."""
    definition = _definition(name)
    given = dict(args or {})
    for key in given:
        if key not in definition.arguments:
            known = ", ".join(definition.arguments)
            raise PemnError(
                f"model {name} takes no argument {key!r}{_closest(key, definition.arguments)}; it takes {known}"
            )
    checked = {
        key: argument.check(f"model {name}: {key}", given.get(key, argument.default))
        for key, argument in definition.arguments.items()
    }
    if definition.relate is not None:
        definition.relate(checked)
    return Architecture(name, checked)


def build(architecture: str | Architecture, /, **args: Value) -> nn.Module:
    """Build a registered net with freshly initialised dense weights (torch's global generator, as torch's layers do).

    Arguments given by keyword override those of an `Architecture`. Under `torch.device("meta")` nothing is allocated.
    Raises PemnError for an unknown name, a wrong argument, or a net of more than `MAX_VALUES` values.

    >>> net = build("convmixer", dim=8, depth=2, classes=10)
    >>> architecture_of(net).args["dim"]
    8
    """
    if isinstance(architecture, Architecture):
        checked = check(architecture.name, {**architecture.args, **args})
    else:
        checked = check(architecture, args)
    definition = _DEFINITIONS[checked.name]
    with torch.device("meta"):
        sketch = definition.make(**checked.args)
    count = sum(t.numel() for t in sketch.parameters()) + sum(t.numel() for t in sketch.buffers())
    if count > MAX_VALUES:
        raise PemnError(f"model {checked.name} with these arguments has {count:,} values; the most is {MAX_VALUES:,}")
    model = definition.make(**checked.args)
    model.__dict__[_ATTRIBUTE] = checked
    return model


def architecture_of(model: nn.Module) -> Architecture | None:
    """Return what `build` was asked for, or None for a net of another origin.

    Sees through `torch.compile`, DistributedDataParallel and AveragedModel.
    """
    inner: object = model
    while isinstance(inner, nn.Module):
        found = inner.__dict__.get(_ATTRIBUTE)
        if isinstance(found, Architecture):
            return found
        children = inner.__dict__.get("_modules", {})
        inner = children.get("_orig_mod", children.get("module"))
    return None


def data_arguments(name: str, *, classes: int, channels: int, size: tuple[int, int]) -> dict[str, Value]:
    """Return those arguments of a registered net that follow from the images: classes, channels and image side.

    Raises PemnError where the net needs square images and `size` (height, width) is not.
    """
    known = _definition(name).arguments
    fitting: dict[str, Value] = {"classes": classes, "channels": channels}
    if "image" in known:
        if size[0] != size[1]:
            raise PemnError(
                f"model {name} takes square images; these are {size[0]}x{size[1]}: choose one side with --size"
            )
        fitting["image"] = size[0]
    return {key: value for key, value in fitting.items() if key in known}


def _definition(name: str) -> Definition:
    if not isinstance(name, str) or name not in _DEFINITIONS:
        raise PemnError(f"unknown model {name!r}{_closest(name, _DEFINITIONS)}; known: {', '.join(names())}")
    return _DEFINITIONS[name]


def _closest(word: object, known: Mapping[str, object]) -> str:
    match = difflib.get_close_matches(str(word), known, n=1)
    return f" (did you mean {match[0]!r}?)" if match else ""
