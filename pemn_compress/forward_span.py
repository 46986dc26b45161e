"""What has to know when a model's forward begins and when it ends."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

from torch import nn

__all__ = ["ForwardSpan", "attached", "detach"]


class ForwardSpan(ABC):
    """Told by the models it is attached to; of the end also where the forward fails."""

    def attach(self, model: nn.Module) -> None:
        """Let the calls of a model say when its forward begins and ends."""
        model.register_forward_pre_hook(self._begin)
        model.register_forward_hook(self._end, always_call=True)

    @abstractmethod
    def _begin(self, model: nn.Module, *_: Any) -> None: ...

    @abstractmethod
    def _end(self, model: nn.Module, *_: Any) -> None: ...


def attached(model: nn.Module) -> list[ForwardSpan]:
    """Return those that are attached to a model itself."""
    return [span for span in map(_span_of, model._forward_pre_hooks.values()) if span is not None]


def detach(model: nn.Module) -> None:
    """Take back what `ForwardSpan.attach` did to a model."""
    for hooks in (model._forward_pre_hooks, model._forward_hooks):
        for key, hook in list(hooks.items()):
            span = _span_of(hook)
            if span is not None:
                span._end(model)
                del hooks[key]
                model._forward_hooks_always_called.pop(key, None)


def _span_of(hook: Callable[..., Any]) -> ForwardSpan | None:
    owner = getattr(hook, "__self__", None)
    return owner if isinstance(owner, ForwardSpan) else None
