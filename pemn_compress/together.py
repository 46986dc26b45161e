"""The weights of a model many at a time, while its forward runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from pemn_compress.bucket import Bucket
from pemn_compress.forward_span import ForwardSpan
from pemn_compress.transforms import transforming

if TYPE_CHECKING:
    from pemn_compress.masked_weight import MaskChain

__all__ = ["Part", "Together"]

_ENOUGH = 1 << 20  # scores, beside whose work one more call costs nothing
_LARGE = 1 << 16  # scores, beside whose values others' would be memory that counts


class Part:
    """The weights of a bucket in one forward of their model, made when the first of them is asked for.

    They are made no sooner because autograd goes back to what was made last first: the gradients of these scores are
    then complete before the layers ahead of them are reached, so that DistributedDataParallel can send them meanwhile.
    """

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket
        self._made = False

    def weight(self, chain: MaskChain) -> torch.Tensor | None:
        """Return the weight of a chain, or None where it has to make its own.

        That is a chain whose scores have been replaced meanwhile; and all of them where no gradient is wanted or torch
        transforms the function.
        """
        if not self._made:
            if not torch.is_grad_enabled() or transforming():
                return None
            self._made = True
            self._bucket.make()
        return self._bucket.take(chain)

    def keep(self, chain: MaskChain, score: torch.Tensor, weight: torch.Tensor) -> None:
        """Have a weight that a chain has made serve its next readers, whose gradients may go back one by one."""
        if self._made and torch.is_grad_enabled() and not transforming():
            self._bucket.put(chain, score, weight, lasting=True)


class Together(ForwardSpan):
    """Hands each chain its `Part` as long as the model's forward runs with gradients; what is compiled needs none."""

    def __init__(self) -> None:
        self._buckets: list[Bucket] = []

    def add(self, chain: MaskChain, owner: nn.Module, attribute: str) -> None:
        """Take up the next masked weight of the model, unless it is large and its values have to be made first."""
        mask = chain.mask
        if not mask.fixed and mask.tensor.numel > _LARGE:
            return
        if not self._buckets or self._buckets[-1].numel >= _ENOUGH:
            self._buckets.append(Bucket())
        self._buckets[-1].add(chain, owner, attribute)

    def _begin(self, model: nn.Module, *_: Any) -> None:
        if torch.compiler.is_compiling() or torch._C._get_tracing_state() or "_is_replica" in model.__dict__:
            return
        for bucket in self._buckets:
            bucket.give(Part(bucket) if torch.is_grad_enabled() else None)

    def _end(self, model: nn.Module, *_: Any) -> None:
        if torch.compiler.is_compiling():
            return
        for bucket in self._buckets:
            bucket.give(None)
