"""The weights of a model many at a time, while its forward runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from pemn_compress.bucket import Bucket
from pemn_compress.forward_span import ForwardSpan
from pemn_compress.leaves import Leaves
from pemn_compress.transforms import transforming

if TYPE_CHECKING:
    from pemn_compress.masked_weight import MaskChain

__all__ = ["Part", "Together"]

_ENOUGH = 1 << 20  # scores, beside whose work one more call costs nothing
_LARGE = 1 << 16  # scores, beside whose values others' would be memory that counts


class Part:
    """The weights of a bucket in one forward of their model, made when the first of them is asked for.

    They are made no sooner because the forward may change its scores until then, and because autograd goes back to what
    was made last first: the gradients of these scores are then complete before the layers ahead of them are reached, so
    that DistributedDataParallel can send them meanwhile.
    """

    def __init__(self, bucket: Bucket, maker: Bucket | Leaves) -> None:
        self._bucket, self._maker = bucket, maker
        self._made = False

    def __deepcopy__(self, _: Any) -> None:
        """A copied module makes its own."""

    def weight(self, chain: MaskChain) -> torch.Tensor | None:
        """Return the weight of a chain, or None where it has to make its own.

        That is a chain whose scores have been replaced meanwhile; and all of them where no gradient is wanted or torch
        transforms the function.
        """
        if not self._made and torch.is_grad_enabled() and not transforming():
            self._made = True
            self._maker.make()
        return self._bucket.take(chain) if self._made else None


class Together(ForwardSpan):
    """Hands each chain its `Part` as long as the model's forward runs with gradients; what is compiled needs none.

    leaves: what makes the weights of a bucket while a step has them as leaves; see `MaskGradients`.
    """

    def __init__(self) -> None:
        self._buckets: list[Bucket] = []
        self.leaves: Mapping[Bucket, Leaves] = {}

    def __getstate__(self) -> dict[str, Any]:
        """What a copy takes along: no step."""
        return {**self.__dict__, "leaves": {}}

    def add(self, chain: MaskChain, owner: nn.Module, attribute: str) -> None:
        """Take up the next masked weight of the model, unless it is large and its values have to be made first."""
        mask = chain.mask
        if not mask.fixed and mask.tensor.numel > _LARGE:
            return
        if not self._buckets or self._buckets[-1].numel >= _ENOUGH:
            self._buckets.append(Bucket())
        self._buckets[-1].add(chain, owner, attribute)

    def to_leaves(self) -> dict[Bucket, Leaves]:
        """Return new `leaves` for the buckets whose scores are all that is learned."""
        return {bucket: Leaves(bucket) for bucket in self._buckets if bucket.fixed}

    def forget(self) -> None:
        """Take the parts back, also those that an interrupted forward has left."""
        for bucket in self._buckets:
            bucket.give(None)

    def _begin(self, model: nn.Module, *_: Any) -> None:
        if torch.compiler.is_compiling() or torch._C._get_tracing_state() or "_is_replica" in model.__dict__:
            return
        if not torch.is_grad_enabled():
            self.forget()
            return
        for bucket in self._buckets:
            bucket.give(Part(bucket, self.leaves.get(bucket, bucket)))

    def _end(self, model: nn.Module, *_: Any) -> None:
        if not torch.compiler.is_compiling():
            self.forget()
