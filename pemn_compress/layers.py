"""Layers that a person names: by module path, or as the first or the last one."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from torch import nn

from pemn_compress.maskable import plain_name, unwrap, weight_names
from pemn_formats.errors import PemnError

__all__ = ["FIRST", "LAST", "choose_layers", "dense_weights"]

FIRST, LAST = "first", "last"


def choose_layers(model: nn.Module, names: Sequence[str]) -> dict[str, nn.Module]:
    """Return the named convolutions, linear and attention layers of a model, masked or not, by module path.

    `first` and `last` are the first and last of them in the order of `named_modules()`, unless a layer has that path.
    Raises `PemnError` for any other name.

    >>> model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    >>> list(choose_layers(model, ["last", "0"]))
    ['2', '0']
    """
    if isinstance(names, str):
        raise PemnError(f"layers are given as a list of names, found {names!r}")
    layers = {plain_name(path): module for path, module in unwrap(model).named_modules() if weight_names(module)}
    paths = list(layers)
    chosen = {}
    for name in names:
        if name not in layers and (name not in (FIRST, LAST) or not paths):
            close = difflib.get_close_matches(name, paths, n=1)
            hint = f" (did you mean {close[0]!r}?)" if close else ""
            known = ", ".join(paths[:8]) + (", ..." if len(paths) > 8 else "")
            raise PemnError(f"the model has no layer {name!r}{hint}; use first, last or one of: {known or 'none'}")
        path = name if name in layers else paths[0 if name == FIRST else -1]
        chosen[path] = layers[path]
    return chosen


def dense_weights(model: nn.Module, names: Sequence[str]) -> set[int]:
    """Return the ids of the weights of the named layers, which are to be stored in 8 bits.

    Raises `PemnError` for an unknown name, and for a layer that is masked.
    """
    chosen: set[int] = set()
    for path, module in choose_layers(model, names).items():
        for attribute in weight_names(module):
            if attribute not in module._parameters:
                raise PemnError(
                    f"{path or 'the model'} is masked or otherwise computed, so it cannot be stored in 8 bits; leave "
                    "it out of the masks with MaskConfig(int8_layers=...)"
                )
            chosen.add(id(module._parameters[attribute]))
    return chosen
