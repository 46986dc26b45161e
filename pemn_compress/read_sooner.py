"""Reading a masked weight that is made already, in one look."""

from __future__ import annotations

import torch
from torch import nn
from torch.compiler import is_compiling

__all__ = ["Made", "read_sooner", "take"]

Made = tuple[dict[str, torch.Tensor | None], torch.Tensor, torch.Tensor, bool]
"""Where scores are held, those that a weight was made of, for others may have taken their place, the weight, and
whether it may be read more than once: not where the gradient of each reader may go back by itself, but the weight's
only once."""


def take(owner: nn.Module, key: str) -> torch.Tensor | None:
    """Return the weight that a module's `__dict__` holds as a `Made`, unless it holds none or its scores are others."""
    made: Made | None = owner.__dict__.get(key)
    if made is None or made[0].get("original") is not made[1]:
        return None
    # Of two threads that take what may be read once, one has it.
    return made[2] if made[3] or owner.__dict__.pop(key, None) is made else None


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
