"""Weights with which autograd begins: their gradients are handed to the scores by hand.

In small nets autograd's own way from the weights to the scores takes longer than the arithmetic on it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from pemn_compress.at_once import score_gradients, small_place, weights
from pemn_compress.learners.comparison import Comparison
from pemn_compress.plain import eager
from pemn_compress.straight_through import check_unchanged, versions

if TYPE_CHECKING:
    from pemn_compress.bucket import Bucket
    from pemn_compress.masked_weight import MaskChain

__all__ = ["Leaves"]


class Leaves:
    """The weights of a bucket of fixed values as leaves, made in each forward of a step and handed on at its end."""

    def __init__(self, bucket: Bucket) -> None:
        self.bucket = bucket
        self._looked_up: _LookedUp | None = None
        self._made: list[tuple[_LookedUp, list[torch.Tensor], list[Comparison | None], list[int]]] = []

    def make(self) -> None:
        """Make the weights of the scores as they are now."""
        found = self._looked_up
        if found is None or not found.holds():
            found = self._looked_up = _LookedUp(self.bucket.chains())
        if found.chains:
            made, compared = found.choose()
            self._made.append((found, made, compared, versions(*found.read_back)))
            self.bucket.put(found.chains, found.scores, made)

    def hand_on(self) -> None:
        """Add to the gradients of the scores what autograd would have, and `forget`.

        Raises `RuntimeError` where what they follow from was changed in place meanwhile.
        """
        while self._made:
            found, made, compared, before = self._made.pop()
            grads = [weight.grad for weight in made]
            made.clear()  # before there is as much again
            check_unchanged(before, *found.read_back)
            found.hand_on(grads, compared)

    def forget(self) -> None:
        """Forget the weights that were made."""
        self._made.clear()


class _LookedUp:
    """What belongs to the chains that can have leaves: in a small net, to look it up takes longer than to use it.

    read_back: the tensors that `hand_on` reads.
    """

    def __init__(self, chains: Sequence[MaskChain]) -> None:
        self.chains = [chain for chain in chains if _leads_nowhere(chain.original)]
        masks = [chain.mask for chain in self.chains]
        self.scores = [chain.original for chain in self.chains]
        self._values = [mask.checked(score) for mask, score in zip(masks, self.scores, strict=True)]
        self._learners = [mask.learner for mask in masks]
        pairs = zip(self.scores, self._values, strict=True)
        self._places = [small_place(score, value) for score, value in pairs] if eager() else None
        learned = zip(self.scores, self._learners, strict=True)
        turning = [score for score, learner in learned if learner.direction(score.new_zeros(1)) is not None]
        self.read_back = [*self._values, *turning]
        self._wanted = [score.requires_grad for score in self.scores]
        self._apart = [score.stride() != value.stride() for score, value in zip(self.scores, self._values, strict=True)]
        held = zip(self.chains, masks, self.scores, self._values, self._wanted, strict=True)
        self._held = [
            (chain._parameters, chain._modules, score, score.data_ptr(), wanted, mask._buffers, value, value.data_ptr())
            for chain, mask, score, value, wanted in held
        ]

    def holds(self) -> bool:
        """Whether scores and values are the same and where they were, and nothing waits for what becomes of them."""
        for parameters, modules, score, score_at, wanted, buffers, value, value_at in self._held:
            if not (
                parameters["original"] is score
                and score.data_ptr() == score_at
                and score.requires_grad is wanted
                and buffers["value"] is value
                and value.data_ptr() == value_at
                and len(modules) == 1
                and _leads_nowhere(score)
            ):
                return False
        return True

    def choose(self) -> tuple[list[torch.Tensor], list[Comparison | None]]:
        """Return the weights, which want gradients where their scores do, and how they were compared."""
        with torch.no_grad():
            return weights(self._learners, self.scores, self._values, places=self._places, wanted=self._wanted)

    def hand_on(self, grads: Sequence[torch.Tensor | None], compared: Sequence[Comparison | None]) -> None:
        """Add the gradients of the scores that follow from those of the weights."""
        with torch.no_grad():
            found = score_gradients(self._learners, self.scores, self._values, grads, compared)
            for score, grad, apart in zip(self.scores, found, self._apart, strict=True):
                if grad is None:
                    continue
                if apart:  # fused optimizers count on gradients that lie as their parameters do
                    grad = torch.empty_like(score).copy_(grad)
                score.grad = grad if score.grad is None else score.grad.add_(grad)


def _leads_nowhere(score: torch.Tensor) -> bool:
    """Whether autograd ends with a score, whose gradient no hook waits for."""
    return score.is_leaf and not score._backward_hooks and not score._post_accumulate_grad_hooks
