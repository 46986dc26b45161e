"""The gradients of scores in a step that is `fit`'s own: without autograd where the masks are."""

from __future__ import annotations

import functools
from types import TracebackType

import torch
from torch import nn

from pemn_compress.forward_span import attached
from pemn_compress.together import Together

__all__ = ["MaskGradients", "casts_keep_gradients"]


class MaskGradients:
    """A block around the forward and backward passes of a step, after which scores have their gradients.

    They are, to the bit, those that autograd finds without it, with two exceptions: a sum of three or more gradients of
    a score may be added up in another order, and under autocast a layer that is used several times has, as in a dense
    net, one narrow copy of its weight and gradients that add up in that type. Inside the block the weights are leaves:
    whatever waits for the gradient of a score there (DistributedDataParallel, a hook of its graph node), asks for
    it (`torch.autograd.grad`) or differentiates it once more goes without. Nothing may go back through a graph of an
    earlier block. Masks that learn more than scores go autograd's way, and all do where autocast is not to be trusted
    with leaves.

    The end of the block raises `RuntimeError` where values, or scores whose signs their gradients take, were changed in
    place after a forward of it, and gives no score a gradient that follows from them.

    Args:
        model: with masks or without. Whoever keeps its output or loss past the block keeps all weights in memory with
            it, unless detached.
        wanted: whether to do so; else the block does nothing.
    """

    def __init__(self, model: nn.Module, *, wanted: bool = True) -> None:
        wanted = wanted and casts_keep_gradients()
        spans = [span for module in model.modules() for span in attached(module)] if wanted else []
        self._leaves = [(span, span.to_leaves()) for span in spans if isinstance(span, Together)]

    def __enter__(self) -> None:
        for together, leaves in self._leaves:
            together.leaves = leaves

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for together, _ in self._leaves:
            together.leaves = {}
            together.forget()
        every = [each for _, leaves in self._leaves for each in leaves.values()]
        try:
            if kind is None:
                for each in every:
                    each.hand_on()
        finally:
            for each in every:
                each.forget()


@functools.cache
def casts_keep_gradients() -> bool:
    """Whether autocast tells a narrow copy of a leaf that was made without gradients from one made with them.

    Older torch hands out the first for the second, so that what is used both ways in one forward learns nothing
    (https://github.com/pytorch/pytorch/issues/112583, repaired by https://github.com/pytorch/pytorch/pull/165068).
    """
    leaf = torch.ones(1, 1, requires_grad=True)
    with torch.enable_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        with torch.no_grad():
            nn.functional.linear(torch.ones(1, 1), leaf)
        return nn.functional.linear(torch.ones(1, 1), leaf).requires_grad
