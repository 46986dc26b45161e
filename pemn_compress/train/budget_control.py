"""Steering of a run towards a file of at most so many bytes."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

import torch
from torch import nn

from pemn_compress.masking import masked_weights
from pemn_compress.saving import to_content
from pemn_compress.train.rate_control import RateControl
from pemn_compress.train.size_estimate import MaskCount, count_masks, mask_bits
from pemn_compress.train.trimming import trim_
from pemn_formats.content import LOG8, Content
from pemn_formats.foresight import most_bytes
from pemn_formats.pieces import mask_pieces, prototype_pieces, residual_pieces
from pemn_formats.reader import Reader
from pemn_formats.writer import encode

__all__ = ["BudgetControl"]

_BEGIN = 0.4
_AIM = 0.99
_EVERY = 4
_CODINGS = 20
_FIRST = 0.1
_LEAST, _MOST = 1e-3, 1e3
_RANGE = 16.0
_GROWTH = 20.0
_AHEAD = 0.05
_MOMENTUM = 10
_STEEP, _STEEP_TERNARY = 0.45, 0.6
_LAST = 0.1


class BudgetControl(RateControl):
    """Raises the price of bits after two fifths of a run until its masks fit, and lets no larger epoch win.

    The price grows or falls by a factor that follows how far the masks' entropy, times what coding really made of it,
    lies above or below what the budget leaves them. It is asked every fourth step, the coder after every epoch and in
    longer ones every twentieth of the run. Epochs in the last tenth that do not fit yet lose their least sure weights
    (`trimming`). Nothing is random; the price, the coder's gain and the bytes left to masks are the whole state.

    Args:
        budget: the most bytes of the file.
        described: what the network takes, as `DataSpec.to_input` gives it.
        residual_dtype: that of the file.
        rate: the price until then, of masks that do not fit yet.
    """

    def __init__(
        self, budget: int, described: Mapping[str, Any], *, residual_dtype: str = LOG8, rate: float = 0.0
    ) -> None:
        super().__init__(rate, residual_dtype=residual_dtype)
        self.budget = budget
        self._options: Mapping[str, Any] = {"input": dict(described), "residual_dtype": residual_dtype}
        self._price = max(_FIRST, rate)
        self._gain = 1.0
        self._before = 0.0
        self._pays = False
        self._left = 0
        self._coded, self._coded_bytes = b"", 0
        self._coded_at: int | None = None  # the step; None at the end of an epoch

    def price(self, model: nn.Module, step: int, steps: int) -> float:
        """The price of a step: the constant one, after two fifths of the run a steered one; 0 for masks that fit."""
        first = math.ceil(_BEGIN * steps)
        steers = step >= first
        if not steers and not self.rate:
            return 0.0
        if self._coded_at is None:
            self._coded_at = step
        if step == first or step - self._coded_at >= max(1, steps // _CODINGS):
            self.file_bytes(model)
            self._coded_at = step
        if (step - first) % _EVERY == 0:
            over = self._mask_bytes(model) * self._gain / self._target(model) - 1
            if steers:
                self._update(over, steps - first)
            else:
                self._pays, self._before = over > 0, over
        if not self._pays:
            return 0.0
        return self._price if steers else self.rate

    def _update(self, over: float, steps: int) -> None:
        """Take how far the masks lie over their target in so many steps that steer."""
        ahead = over + (over - self._before) / _EVERY * (_MOMENTUM + _AHEAD * steps)
        fastest = _RANGE * _EVERY / steps
        self._price = min(_MOST, max(_LEAST, self._price * math.exp(min(fastest, max(-fastest, _GROWTH * ahead)))))
        self._pays, self._before = ahead > 0, over

    def bits(self, model: nn.Module) -> torch.Tensor:
        """The masks' bits to first order: each density times the slope of the entropy there.

        The rate term itself is flat around a density of one half, where every mask starts; the slope is therefore
        taken at 0.45 at most, for ternary masks at 0.6, whose entropy is flat at two thirds. The width of the step from
        0 to 1 follows the scores, which are small in some layers.
        """
        parts = []
        for _, weight, score in masked_weights(model):
            width = float(score.detach().abs().mean()) or 1.0
            chance = weight.learner.probability(score, width).mean()
            ternary = weight.alphabet == "ternary"
            density = min(_STEEP_TERNARY if ternary else _STEEP, max(1e-3, weight.density(score)))
            slope = math.log2((1 - density) / density) + (1 if ternary else 0)
            parts.append(score.numel() * slope * chance)
        return torch.stack(parts).sum()

    def bring_down_(self, model: nn.Module, epoch: int, epochs: int) -> None:
        """Trim the masks of one of the last epochs whose file does not fit."""
        if epoch > min(epochs - 1, (1 - _LAST) * epochs) and self.file_bytes(model) > self.budget:
            trim_(model, lambda: self.file_bytes(model) <= self.budget)

    def foresee(self, model: nn.Module, masks: Sequence[MaskCount], described: Mapping[str, Any]) -> int:
        """The bytes of the smallest file itself, however long that takes."""
        self._coded_at = None
        return self.file_bytes(model)

    def admits(self, model: nn.Module, size: int) -> bool:
        """Whether the file of the epoch just finished fits."""
        return size <= self.budget

    def file_bytes(self, model: nn.Module) -> int:
        """The bytes of the smallest file of a model as it is; what coding gains is remembered.

        Asked again about the content that it coded last, as at the end of an epoch and before the next, it codes
        nothing: without the compiled loops that takes seconds.
        """
        content = to_content(model, **self._options)
        found = _digest(content)
        if found != self._coded:
            self._coded, self._coded_bytes = found, self._code(content)
        return self._coded_bytes

    def _code(self, content: Content) -> int:
        data = encode(content)
        with Reader.open(data) as reader:
            ledger = reader.ledger()
        # Masks near one half are stored as they stand, which says nothing of what a coder makes of sparser ones.
        coded = ledger.masks < sum(tensor.mask_bytes for tensor in content.masked)
        self._gain = ledger.masks / max(1.0, ledger.shannon_bytes) if coded else 1.0
        return len(data)

    def state_dict(self) -> dict[str, Any]:
        """The price, the coder's gain, how far the masks were over their target, and that target."""
        return {
            "price": self._price,
            "gain": self._gain,
            "before": self._before,
            "pays": self._pays,
            "left": self._left,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take what `state_dict` gave."""
        if state:
            self._price, self._gain = state["price"], state["gain"]
            self._before, self._pays, self._left = state["before"], state["pays"], state.get("left", 0)

    def _target(self, model: nn.Module) -> float:
        """The bytes that the masks may take; what is left beside them depends a little on the codes that are asked."""
        if not self._left:
            parts = most_bytes(to_content(model, **self._options), varying=False)
            self._left = max(1, math.floor(_AIM * self.budget) - (parts.file - parts.masks))
        return float(self._left)

    @staticmethod
    def _mask_bytes(model: nn.Module) -> float:
        return sum(mask_bits(mask) for mask in count_masks(model)) / 8


def _digest(content: Content) -> bytes:
    """What tells contents of one model apart."""
    digest = hashlib.sha256()
    for piece in chain(prototype_pieces(content), mask_pieces(content), residual_pieces(content)):
        digest.update(piece)
    return digest.digest()
