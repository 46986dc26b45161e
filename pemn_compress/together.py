"""The weights of a model many at a time, while its forward runs: one call of autograd for many small tensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from pemn_compress.forward_span import ForwardSpan
from pemn_compress.straight_through import StraightThroughMany
from pemn_compress.transforms import transforming

if TYPE_CHECKING:
    from pemn_compress.masked_weight import MaskChain

__all__ = ["Part", "Together"]

_ENOUGH = 1 << 20  # scores, beside whose work one more call costs nothing


class Part:
    """Some masked weights in one forward of their model, made when the first of them is asked for.

    They are made no sooner because autograd goes back to what was made last first: the gradients of these scores are
    then complete before the layers ahead of them are reached, so that DistributedDataParallel can send them meanwhile.
    """

    def __init__(self, members: Sequence[MaskChain]) -> None:
        self._members = members
        self._made: dict[MaskChain, tuple[torch.Tensor, torch.Tensor]] | None = None

    def weight(self, member: MaskChain, score: torch.Tensor) -> torch.Tensor | None:
        """Return the weight of a member's scores, or None where it has to make its own.

        That is a member with a learned scale or learned values, or whose scores have been replaced meanwhile; and all
        of them where no gradient is wanted or torch transforms the function.
        """
        if self._made is None:
            if not torch.is_grad_enabled() or transforming():
                return None
            self._made = self._make()
        made_of, weight = self._made.get(member, (None, None))
        return weight if made_of is score else None

    def _make(self) -> dict[MaskChain, tuple[torch.Tensor, torch.Tensor]]:
        members = [member for member in self._members if member.alone and member.mask.fixed]
        if not members:
            return {}
        scores = [member.original for member in members]
        values = [member.mask.checked(score) for member, score in zip(members, scores, strict=True)]
        weights = StraightThroughMany.apply([member.mask.learner for member in members], values, *scores)
        return dict(zip(members, zip(scores, weights, strict=True), strict=True))


class Together(ForwardSpan):
    """Hands each member its `Part` as long as the model's forward runs with gradients; what is compiled needs none."""

    def __init__(self) -> None:
        self._parts: list[list[MaskChain]] = []

    def add(self, member: MaskChain) -> None:
        """Take up the next masked weight of the model."""
        if not self._parts or sum(one.mask.tensor.numel for one in self._parts[-1]) >= _ENOUGH:
            self._parts.append([])
        self._parts[-1].append(member)

    def _begin(self, model: nn.Module, *_: Any) -> None:
        if torch.compiler.is_compiling() or getattr(model, "_is_replica", False):
            return
        for members in self._parts:
            part = Part(members) if torch.is_grad_enabled() else None
            for member in members:
                # As `member.part = part`, without a module's look at what is assigned to it: twice a step and tensor.
                member.__dict__["part"] = part

    def _end(self, model: nn.Module, *_: Any) -> None:
        if torch.compiler.is_compiling():
            return
        for members in self._parts:
            for member in members:
                member.__dict__["part"] = None
