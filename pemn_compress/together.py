"""The weights of a model many at a time, while its forward runs: one call of autograd for many small tensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from pemn_compress.forward_span import ForwardSpan
from pemn_compress.straight_through_many import StraightThroughMany
from pemn_compress.transforms import transforming

if TYPE_CHECKING:
    from pemn_compress.masked_weight import MaskChain

__all__ = ["Part", "Together"]

_ENOUGH = 1 << 20  # scores, beside whose work one more call costs nothing
_LARGE = 1 << 16  # scores, beside whose values others' would be memory that counts


class Part:
    """Some masked weights in one forward of their model, made when the first of them is asked for.

    They are made no sooner because autograd goes back to what was made last first: the gradients of these scores are
    then complete before the layers ahead of them are reached, so that DistributedDataParallel can send them meanwhile.
    """

    def __init__(self, members: Sequence[MaskChain]) -> None:
        self._members = members
        self._made = False

    def weight(self, member: MaskChain, score: torch.Tensor) -> torch.Tensor | None:
        """Return the weight of a member's scores, or None where it has to make its own.

        That is a member whose scores have been replaced meanwhile; and all of them where no gradient is wanted or torch
        transforms the function.
        """
        if not self._made:
            if not torch.is_grad_enabled() or transforming():
                return None
            self._make()
        made_of, weight = member.made or (None, None)
        return weight if made_of is score else None

    def _make(self) -> None:
        self._made = True
        members, ingredients, scores = [], [], []
        learned: dict[int, torch.Tensor] = {}
        for member in self._members:
            score, mask = member._parameters.get("original"), member.mask
            if member.alone and score is not None:
                members.append(member)
                scores.append(score)
                ingredients.append(mask.ingredients(score))
                if not mask.fixed:
                    learned.update((id(each), each) for each in mask.parameters())
        if members:
            weights = StraightThroughMany.apply(ingredients, *scores, *learned.values())
            for member, score, weight in zip(members, scores, weights, strict=True):
                member.__dict__["made"] = score, weight


class Together(ForwardSpan):
    """Hands each member its `Part` as long as the model's forward runs with gradients; what is compiled needs none."""

    def __init__(self) -> None:
        self._parts: list[list[MaskChain]] = []

    def add(self, member: MaskChain) -> None:
        """Take up the next masked weight of the model, unless it is large and its values have to be made first."""
        if not member.mask.fixed and member.mask.tensor.numel > _LARGE:
            return
        if not self._parts or sum(one.mask.tensor.numel for one in self._parts[-1]) >= _ENOUGH:
            self._parts.append([])
        self._parts[-1].append(member)

    def _begin(self, model: nn.Module, *_: Any) -> None:
        if torch.compiler.is_compiling() or "_is_replica" in model.__dict__:
            return
        for members in self._parts:
            part = Part(members) if torch.is_grad_enabled() else None
            for member in members:
                _put(member, part)

    def _end(self, model: nn.Module, *_: Any) -> None:
        if torch.compiler.is_compiling():
            return
        for members in self._parts:
            for member in members:
                _put(member, None)


def _put(member: MaskChain, part: Part | None) -> None:
    """Assign what a member looks for, without a module's look at what is assigned: twice a step and tensor."""
    found = member.__dict__
    found["part"], found["made"] = part, None
