"""Reading a masked weight that is made already, in one look."""

from __future__ import annotations

import torch
from torch import nn
from torch.compiler import is_compiling

__all__ = ["Made", "read_sooner"]


Made = tuple[dict[str, torch.Tensor | None], torch.Tensor, torch.Tensor, bool]
"""Where scores are held, those that a weight was made of, for others may have taken their place, the weight, and
whether it may be read more than once: not where each reader's gradient may go back by itself, but the weight's only
once."""


def read_sooner(module: nn.Module, attribute: str) -> str:
    """Let a parametrized attribute look for what was made first, and only then go torch's way; return where it looks.

    That is a key of the module's `__dict__`, for a `Made`. Torch's way is ten calls, and between two layers the caches
    hold nothing of them.
    """
    plain: property = getattr(type(module), attribute)
    key = f"_made_{attribute}"

    def read(owner: nn.Module) -> torch.Tensor:
        if not is_compiling():
            made: Made | None = owner.__dict__.get(key)
            if made is not None and made[0].get("original") is made[1]:
                if not made[3]:
                    del owner.__dict__[key]
                return made[2]
        weight: torch.Tensor = plain.fget(owner)  # type: ignore[misc]
        return weight

    setattr(type(module), attribute, property(read, plain.fset))
    return key
