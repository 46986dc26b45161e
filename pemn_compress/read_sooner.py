"""Reading a masked weight that is made already, in one look."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.compiler import is_compiling

__all__ = ["Made", "read_sooner", "take"]


class Made(NamedTuple):
    """A weight that is made already.

    holder: where its scores are held. score: those that it was made of, for others may have taken their place.
    """

    holder: Mapping[str, torch.Tensor | None]
    score: torch.Tensor
    weight: torch.Tensor

    def __deepcopy__(self, _: Any) -> None:
        """A copied module makes its own."""


def take(owner: nn.Module, key: str) -> torch.Tensor | None:
    """Return the weight that a module's `__dict__` holds as a `Made`, unless it holds none or its scores are others."""
    made: Made | None = owner.__dict__.get(key)
    return None if made is None or made.holder.get("original") is not made.score else made.weight


def read_sooner(module: nn.Module, attribute: str) -> str:
    """Let a parametrized attribute look for what was made first, and only then go torch's way; return where it looks.

    That is a key of the module's `__dict__`. Torch's way is ten calls, and between two layers the caches hold nothing
    of them.
    """
    plain: property = getattr(type(module), attribute)
    key = f"_made_{attribute}"

    def read(owner: nn.Module) -> torch.Tensor:
        made = None if is_compiling() else take(owner, key)
        weight: torch.Tensor = plain.fget(owner) if made is None else made  # type: ignore[misc]
        return weight

    setattr(type(module), attribute, property(read, plain.fset))
    return key
