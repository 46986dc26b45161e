"""The nets of a family that fill a number of bytes."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from pemn_compress.models.arguments import Value
from pemn_compress.plan.bytes_of_a_net import NetBytes, bytes_of_a_net, can_steer
from pemn_compress.plan.shapes import FAMILIES, Family
from pemn_compress.train.run_config import RunConfig
from pemn_formats.errors import PemnError

__all__ = ["LEAST_USED", "Candidate", "candidates"]

LEAST_USED = 0.97
"""The part of a budget that a net should fill."""

_SPARED = 0.05  # the part of the masks that training may have to spare where no width fills a budget
_FIRST, _WIDEST = 16, 4096  # widths that are tried


@dataclasses.dataclass(frozen=True)
class Candidate:
    """A net for a budget: the arguments of its model, and what its file takes."""

    budget: int
    model: str
    model_args: Mapping[str, Value]
    bytes: NetBytes

    @property
    def sure(self) -> bool:
        """Whether the file fits whatever is learned; if not, training has to steer the masks' bits down."""
        return self.bytes.least.file <= self.budget

    @property
    def fits(self) -> bool:
        """Whether the file can fit at all, be it by steering."""
        return self.bytes.fewest <= self.budget

    @property
    def used(self) -> float:
        """The part of the budget that can be used: what masks leave goes to the residual's precision."""
        precise = self.bytes.most - self.bytes.least.file
        return min(self.bytes.likely + precise, self.budget) / self.budget

    def to_dict(self) -> dict[str, Any]:
        """The net and its ledger as JSON values."""
        return {
            "model": self.model,
            "model_args": dict(self.model_args),
            "masked_weights": self.bytes.weights,
            "ledger": dataclasses.asdict(self.bytes.least),
            "file_bytes": self.bytes.least.file,
            "file_bytes_likely": self.bytes.likely,
            "file_bytes_float32": self.bytes.most,
            "sure": self.sure,
            "fits": self.fits,
            "used": self.used if self.fits else None,
        }


def candidates(
    budget: int, options: RunConfig, described: Mapping[str, Any], *, saved: float | None = None
) -> list[Candidate]:
    """Return the widest net that fits for each shape of a family, best first; a net whose width is given, as it is.

    One bit a weight at the width that fits has beaten every other rate, so width is what fills the budget. The order is
    the family's own (`plan.shapes`), nets that would leave more than 3 % of the budget unused last.

    Args:
        budget: bytes of the file.
        options: the run; arguments of its model that it names are kept.
        described: what the network takes, as `DataSpec.to_input` gives it.
        saved: the bits a weight that masks were seen to save, as in `bytes_of_a_net`.

    Raises:
        PemnError: the model is of no family, or no net fits.
    """
    if options.mask is None:
        raise PemnError("a budget is for masks, and a regular run has none; leave --regular or --budget out")
    family = FAMILIES.get(options.model)
    if family is None:
        raise PemnError(
            f"a budget chooses the shape of {', '.join(FAMILIES)}, found model {options.model!r}; give its arguments, "
            "or one of those models"
        )
    if family.width in options.model_args:
        given = bytes_of_a_net(options, described, saved=saved)
        return [Candidate(budget, family.name, options.model_args, given)]
    shapes = _shapes(family, budget, options, described)
    found, refused = [], []
    for shape in shapes:
        try:
            candidate = _of_shape(family, shape, budget, options, described, saved)
        except PemnError as error:
            refused.append(error)
            continue
        if candidate not in found:
            found.append(candidate)
    if not found:
        raise min(refused, key=lambda error: getattr(error, "least", 0))
    return sorted(found, key=lambda each: each.used < LEAST_USED)


class _TooSmallError(PemnError):
    """A budget below the `least` file of a shape."""

    def __init__(self, budget: int, family: str, least: int) -> None:
        self.least = least
        super().__init__(
            f"a budget of {budget:,} B is too small for any {family} on these images: the least takes {least:,} B"
        )


def _of_shape(
    family: Family,
    shape: Mapping[str, Value],
    budget: int,
    options: RunConfig,
    described: Mapping[str, Any],
    saved: float | None,
) -> Candidate:
    """The widest net of one shape."""

    @cache
    def measure(width: int) -> NetBytes:
        return bytes_of_a_net(dataclasses.replace(options, model_args=family.at(width, shape)), described, saved=saved)

    width = _widest(measure, budget)
    if width == 0:
        raise _TooSmallError(budget, family.name, measure(1).least.file)
    candidate = Candidate(budget, family.name, family.at(width, shape), measure(width))
    if candidate.used < LEAST_USED and can_steer(options):
        wider = measure(width + 1)
        if wider.likely - _SPARED * wider.least.masks <= budget:
            return Candidate(budget, family.name, family.at(width + 1, shape), wider)
    return candidate


def _shapes(family: Family, budget: int, options: RunConfig, described: Mapping[str, Any]) -> list[Mapping[str, Value]]:
    given = dict(options.model_args)
    side = min(described["size"])
    shapes: list[Mapping[str, Value]] = []
    for shape in family.shapes(budget, side):
        kept = {**shape, **given}
        if kept not in shapes:
            shapes.append(kept)
    return shapes


def _widest(measure: Callable[[int], NetBytes], budget: int) -> int:
    """The largest width whose file is likely to fit, 0 if none does; sizes grow about as the square of the width."""
    low, high, guess = 0, _WIDEST + 1, _FIRST
    while high - low > 1:
        found = measure(guess).likely
        low, high = (guess, high) if found <= budget else (low, guess)
        if low > 0 and high <= _WIDEST:
            small, large = (math.sqrt(measure(width).likely) for width in (low, high))
            better = low + (math.sqrt(budget) - small) / (large - small) * (high - low)
        else:
            better = guess * math.sqrt(budget / found)
        guess = min(high - 1, max(low + 1, round(better)))
    if low == _WIDEST:
        raise PemnError(f"a budget of {budget:,} B is more than a plan can fill; name the model's arguments")
    return low
