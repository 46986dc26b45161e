"""Masked weights of a model that are made at once, since in small nets every call counts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

import torch
from torch import nn

from pemn_compress.as_products import LARGEST, products
from pemn_compress.read_sooner import read_sooner, take
from pemn_compress.straight_through_many import StraightThroughFixed, StraightThroughMany

if TYPE_CHECKING:
    from pemn_compress.masked_weight import MaskChain, MaskedWeight
    from pemn_compress.together import Part

__all__ = ["Bucket"]


class Bucket:
    """The chains of some masks of one configuration, and where the modules that read their weights look first."""

    def __init__(self) -> None:
        self.numel = 0  # scores in all
        self._places: dict[MaskChain, tuple[nn.Module, str]] = {}
        self._fixed = self._as_products = True

    def add(self, chain: MaskChain, owner: nn.Module, attribute: str) -> None:
        """Take up the next."""
        mask = chain.mask
        self._places[chain] = owner, read_sooner(owner, attribute)
        self.numel += mask.tensor.numel
        self._fixed &= mask.fixed
        straight = mask.learner.direction(torch.empty(0)) is None
        # Whoever wrote another layer may use its weight twice, and send the gradients of both back one by one.
        used_once = type(owner).forward.__module__.startswith("torch.nn.modules.")
        self._as_products &= mask.fixed and straight and used_once and mask.tensor.numel <= LARGEST

    def give(self, part: Part | None) -> None:
        """Hand each chain its part, or none, and forget what was made; without a module's look at what is assigned."""
        for chain, (owner, key) in self._places.items():
            chain.__dict__["part"] = part
            owner.__dict__.pop(key, None)

    def take(self, chain: MaskChain) -> torch.Tensor | None:
        """Return the weight that was made for a chain, if it may still be read."""
        return take(*self._places[chain])

    def put(self, chain: MaskChain, score: torch.Tensor, weight: torch.Tensor, *, lasting: bool) -> None:
        """Have a weight read until the forward ends, or until it is read."""
        owner, key = self._places[chain]
        owner.__dict__[key] = chain._parameters, score, weight, lasting

    def make(self) -> None:
        """Make the weights of all masks on which nothing else is registered."""
        chains, masks, scores = [], [], []
        for chain in self._places:
            score, modules = chain._parameters.get("original"), chain._modules
            if score is not None and len(modules) == 1:
                chains.append(chain)
                masks.append(cast("MaskedWeight", modules["0"]))
                scores.append(score)
        if not chains:
            return
        weights, lasting = self._weights(masks, scores)
        for chain, score, weight in zip(chains, scores, weights, strict=True):
            self.put(chain, score, weight, lasting=lasting)

    def _weights(
        self, masks: Sequence[MaskedWeight], scores: Sequence[torch.Tensor]
    ) -> tuple[Sequence[torch.Tensor], bool]:
        """Return the weights, and whether each may go back more than once."""
        if not self._fixed:
            parts = [mask.ingredients(score) for mask, score in zip(masks, scores, strict=True)]
            learned = {id(each): each for mask in masks for each in mask.parameters()}
            return StraightThroughMany.apply(parts, *scores, *learned.values()), True
        learners, values = [mask.learner for mask in masks], [mask.fixed_value for mask in masks]
        if self._as_products:
            weights = products(learners, scores, values)
            if weights is not None:
                return weights, False
        for mask, score in zip(masks, scores, strict=True):
            mask.checked(score)
        return StraightThroughFixed.apply(learners, values, *scores), True
