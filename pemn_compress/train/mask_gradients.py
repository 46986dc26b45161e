"""The gradients of scores in a step that is `fit`'s own: without autograd where the masks are."""

from __future__ import annotations

from types import TracebackType

from torch import nn

from pemn_compress.forward_span import attached
from pemn_compress.together import Together

__all__ = ["MaskGradients"]


class MaskGradients:
    """A block around the forward and backward passes of a step, after which scores have their gradients.

    They are, to the bit, those that autograd finds without it; only under autocast a layer that is used several times
    has, as in a dense net, one narrow copy of its weight and gradients that add up in that type. Inside the block the
    weights are leaves: whatever waits for the gradient of a score there (DistributedDataParallel), asks for it
    (`torch.autograd.grad`) or differentiates it once more goes without. Nothing may go back through a graph of an
    earlier block. Masks that learn more than scores go autograd's way.

    Args:
        model: with masks or without.
        wanted: whether to do so; else the block does nothing.
    """

    def __init__(self, model: nn.Module, *, wanted: bool = True) -> None:
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
        for _, leaves in self._leaves:
            for each in leaves.values():
                if kind is None:
                    each.hand_on()
                else:
                    each.forget()
