"""The contract of a learner: how scores become codes and how the gradient comes back to them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from pemn_compress.learners.comparison import Comparison
from pemn_compress.line import select
from pemn_formats.errors import PemnError

__all__ = ["Learner"]


@dataclass(frozen=True)
class Learner(ABC):
    """Turns the scores of one tensor into codes.

    `alphabet` and `density` come from the configuration; `bound` is the half-width of the tensor's initial scores,
    which are uniform in (-bound, bound). A learner holds no state: equal scores give equal codes on every device. Where
    it is `joint`, the scores of all tensors of a model decide together: all begin within one bound, and `mask_` gives
    each learner its `index` in a `group`.

    To add one, write a subclass in a file of its own and name it in `pemn_compress/learners/__init__.py`.
    """

    name: ClassVar[str]
    alphabets: ClassVar[tuple[str, ...]] = ("keep", "sign", "ternary")
    joint: ClassVar[bool] = False

    alphabet: str
    density: float
    bound: float

    @classmethod
    def check(cls, alphabet: str, density: float) -> None:
        """Raise `PemnError` when this learner cannot learn such an alphabet at such a density."""
        if alphabet not in cls.alphabets:
            raise PemnError(f"learner {cls.name} knows the alphabets {', '.join(cls.alphabets)}, found {alphabet!r}")

    @abstractmethod
    def code(self, score: torch.Tensor) -> torch.Tensor:
        """Return the codes of float32 scores, in their shape and on their device, without a gradient.

        bool for `keep` and `sign` (True is code 1), int8 in -1, 0, 1 for `ternary`. Must be traceable by torch.compile:
        no branch on the data while it compiles.
        """

    def select(self, score: torch.Tensor, value: torch.Tensor, *, again: Any = None) -> torch.Tensor:
        """Return the weights of float32 values: `line.select` of the codes, or the same bits sooner.

        `again` is what `found` gave when these scores were asked for before.
        """
        found = self.comparison(score, again=again)
        return select(self.code(score), value, self.alphabet) if found is None else found.select(score, value)

    def comparison(self, score: torch.Tensor, *, again: Any = None) -> Comparison | None:
        """Return the comparison that gives the codes and the direction of the gradient, or None where there is none."""
        return None

    @classmethod
    def comparisons(cls, learners: Sequence[Any], scores: Sequence[torch.Tensor]) -> list[Comparison | None]:
        """Return the `comparison` of each score by its learner, all of this class."""
        return [learner.comparison(score) for learner, score in zip(learners, scores, strict=True)]

    def found(self) -> Any:
        """Return what the backward pass hands back as `again`, to have the codes of its forward pass; or None."""
        return None

    def direction(self, score: torch.Tensor) -> torch.Tensor | None:
        """Return d code / d score as the straight-through estimator takes it; None where it is 1 everywhere.

        A learner with another than its `comparison` says must not have one.
        """
        return None

    @abstractmethod
    def probability(self, score: torch.Tensor, temperature: float) -> torch.Tensor:
        """Return the relaxed probability, in (0, 1), that each code is not 0: what the rate term differentiates.

        Raises `PemnError` when the learner fixes its density, so that no rate can be learned.
        """
