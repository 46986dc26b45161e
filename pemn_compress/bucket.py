"""Masked weights of a model that are made at once, since in small nets every call counts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import nn

from pemn_compress.read_sooner import Made, read_sooner, take
from pemn_compress.straight_through_many import StraightThroughFixed, StraightThroughMany

if TYPE_CHECKING:
    from pemn_compress.masked_weight import MaskChain
    from pemn_compress.together import Part

__all__ = ["Bucket", "Slot"]


class Slot:
    """Where chains find their part, in a forward of the model: one for all of a bucket."""

    part: Part | None = None


class Bucket:
    """The chains of some masks of one configuration, and where the modules that read their weights look first."""

    def __init__(self) -> None:
        self.numel = 0  # scores in all
        self.fixed = True  # scores are all that is learned
        self._places: dict[MaskChain, tuple[nn.Module, str]] = {}
        self._slot = Slot()

    def add(self, chain: MaskChain, owner: nn.Module, attribute: str) -> None:
        """Take up the next."""
        self._places[chain] = owner, read_sooner(owner, attribute)
        chain.slot = self._slot
        self.numel += chain.mask.tensor.numel
        self.fixed &= chain.mask.fixed

    def give(self, part: Part | None) -> None:
        """Hand the chains a part, or none, and forget what another one made."""
        if self._slot.part is not None:
            for owner, key in self._places.values():
                owner.__dict__.pop(key, None)
        self._slot.part = part

    def take(self, chain: MaskChain) -> torch.Tensor | None:
        """Return the weight that was made for a chain, if it may still be read."""
        return take(*self._places[chain])

    def chains(self) -> list[MaskChain]:
        """Return those on which nothing else is registered."""
        return [chain for chain in self._places if chain.alone and chain._parameters.get("original") is not None]

    def make(self) -> None:
        """Make the weights of `chains`."""
        chains = self.chains()
        if not chains:
            return
        masks, scores = [chain.mask for chain in chains], [chain.original for chain in chains]
        if self.fixed:
            values = [mask.checked(score) for mask, score in zip(masks, scores, strict=True)]
            weights = StraightThroughFixed.apply([mask.learner for mask in masks], values, *scores)
        else:
            parts = [mask.ingredients(score) for mask, score in zip(masks, scores, strict=True)]
            learned = {id(each): each for mask in masks for each in mask.parameters()}
            weights = StraightThroughMany.apply(parts, *scores, *learned.values())
        self.put(chains, scores, weights)

    def put(self, chains: Sequence[MaskChain], scores: Sequence[torch.Tensor], weights: Sequence[torch.Tensor]) -> None:
        """Have weights read until the forward ends."""
        for chain, score, weight in zip(chains, scores, weights, strict=True):
            owner, key = self._places[chain]
            owner.__dict__[key] = Made(chain._parameters, score, weight)
