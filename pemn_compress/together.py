"""All weights of a model at once, when its forward begins: one call of autograd for many small tensors."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from pemn_compress.learners.group import Group
from pemn_compress.masked_weight import MaskChain
from pemn_compress.straight_through import StraightThroughMany
from pemn_compress.transforms import transforming

__all__ = ["Together", "detach"]


class Together:
    """Fills `MaskChain.ready` of the members as long as the model's forward runs with gradients.

    A tensor with a learned scale or learned values, one that something else is registered on, and whatever is compiled
    computes its own weight; so does every access outside that forward.
    """

    def __init__(self) -> None:
        self.members: list[MaskChain] = []

    def attach(self, model: nn.Module) -> None:
        """Let the calls of a model say when its forward begins and ends."""
        model.register_forward_pre_hook(self._begin)
        model.register_forward_hook(self._end, always_call=True)

    def clear(self) -> None:
        """Forget the weights."""
        for member in self.members:
            member.ready = None

    def _begin(self, model: nn.Module, *_: Any) -> None:
        if torch.compiler.is_compiling() or getattr(model, "_is_replica", False):
            return
        self.clear()
        if not torch.is_grad_enabled() or transforming():
            return
        members = [member for member in self.members if member.alone and member.mask.fixed]
        if not members:
            return
        scores = [member.original for member in members]
        sources = [member.mask.checked(score) for member, score in zip(members, scores, strict=True)]
        learners = [member.mask.learner for member in members]
        weights = StraightThroughMany.apply(learners, sources, *scores)
        for member, score, weight in zip(members, scores, weights, strict=True):
            member.ready = score, weight

    def _end(self, *_: Any) -> None:
        if not torch.compiler.is_compiling():
            self.clear()


def detach(model: nn.Module) -> None:
    """Take back what `Together.attach` and `Group.attach` did to a model."""
    for hooks in (model._forward_pre_hooks, model._forward_hooks):
        for key, hook in list(hooks.items()):
            owner = getattr(hook, "__self__", None)
            if isinstance(owner, Together):
                owner.clear()
            if isinstance(owner, Together | Group):
                del hooks[key]
                model._forward_hooks_always_called.pop(key, None)
