"""A model's content that fits a number of bytes: the residual as precise as they allow."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any

from torch import nn

from pemn_compress.saving import to_content
from pemn_formats.content import LOG8, Content, ResidualTensor
from pemn_formats.errors import PemnError
from pemn_formats.foresight import header_bytes, residual_stored
from pemn_formats.manifest import manifest_of
from pemn_formats.reader import Reader
from pemn_formats.writer import encode

__all__ = ["DTYPES_BY_SIZE", "content_within"]

DTYPES_BY_SIZE = (LOG8, "float16", "float32")
"""Types of the residual, the smallest first."""

_TRIED = 64
_Step = Mapping[str, tuple[ResidualTensor, ...]]


def content_within(
    model: nn.Module,
    budget: int,
    *,
    residual_dtype: str | None = None,
    threads: int = 1,
    effort: str = "balanced",
    **options: Any,
) -> tuple[Content, bytes]:
    """Return a masked model's content whose file takes at most `budget` bytes, and that file.

    With `residual_dtype` everything that is not masked has that dtype. Without it all starts as `log8`, and while bytes
    are left entries become float16, in the order of the file, and when all are, float32. Masks are never touched: what
    they take was settled in training.

    Args:
        model: the masked model.
        budget: the most bytes.
        residual_dtype: one dtype for all of the residual.
        threads: CPU threads that encode.
        effort: `balanced`, `smallest` or `fast`, as in `save_model`.
        options: those of `to_content`.

    Raises:
        PemnError: it does not fit, or cannot be saved at all.
    """
    dtypes = DTYPES_BY_SIZE if residual_dtype is None else (residual_dtype,)
    first = to_content(model, residual_dtype=dtypes[0], **options)
    forms = [first, *(to_content(model, residual_dtype=one, masked=first.masked, **options) for one in dtypes[1:])]
    least = encode(forms[0], threads=threads, effort=effort)
    if len(least) > budget:
        how = residual_dtype or f"{LOG8}, the smallest residual dtype"
        if effort == "fast" and len(encode(forms[0], threads=threads)) <= budget:
            remedy = "leave effort fast out, with which masks take more"
        else:
            remedy = "train a smaller net or for longer, or raise the budget of the export"
        raise PemnError(
            f"the file takes {len(least):,} B with {how}, {len(least) - budget:,} B more than the budget of "
            f"{budget:,} B; {remedy}"
        )
    with Reader.open(least) as reader:
        kept = reader.ledger()
    fixed = kept.masks + kept.prototypes

    def fits(steps: list[_Step]) -> bool:
        content = _with_residual(forms[0], steps)
        return fixed + header_bytes(manifest_of(content)) + residual_stored(content, effort=effort) <= budget

    taken: list[_Step] = []
    for before, after in pairwise(forms):
        steps = _steps(before, after)
        more = _as_many(taken, steps, fits)
        taken = [*taken, *more]
        if len(more) < len(steps):
            break
    if not taken:
        return forms[0], least
    content = _with_residual(forms[0], taken)
    data = encode(content, threads=threads, effort=effort)
    # What was foreseen is exact; should it ever not be, the budget comes first.
    return (content, data) if len(data) <= budget else (forms[0], least)


def _as_many(taken: list[_Step], steps: list[_Step], fits: Callable[[list[_Step]], bool]) -> list[_Step]:
    """As many steps from the first on as fit beside those taken, then each later one that still does."""
    if fits([*taken, *steps]):
        return steps
    low, high = 0, len(steps)
    while low < high:
        middle = (low + high + 1) // 2
        if fits([*taken, *steps[:middle]]):
            low = middle
        else:
            high = middle - 1
    more = steps[:low]
    for step in steps[low : low + _TRIED]:
        if fits([*taken, *more, step]):
            more = [*more, step]
    return more


def _steps(before: Content, after: Content) -> list[_Step]:
    """From one form to the next, name by name: entries of one name (an 8-bit weight and its scales) go together."""
    old, new = _by_name(before), _by_name(after)
    return [{name: new[name]} for name in old if _dtypes(old[name]) != _dtypes(new[name])]


def _by_name(content: Content) -> dict[str, tuple[ResidualTensor, ...]]:
    found: dict[str, tuple[ResidualTensor, ...]] = {}
    for entry in content.residual:
        found[entry.name] = (*found.get(entry.name, ()), entry)
    return found


def _dtypes(entries: tuple[ResidualTensor, ...]) -> list[str]:
    return [entry.dtype for entry in entries]


def _with_residual(content: Content, steps: list[_Step]) -> Content:
    chosen: dict[str, tuple[ResidualTensor, ...]] = {}
    for step in steps:
        chosen.update(step)
    by_kind = {(entry.kind, entry.name): entry for entries in chosen.values() for entry in entries}
    residual = tuple(by_kind.get((entry.kind, entry.name), entry) for entry in content.residual)
    return dataclasses.replace(content, residual=residual)
