"""What a file becomes once its weights are dense: which tensors, and how much memory, by its manifest alone."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from pemn_formats.available import available_memory
from pemn_formats.content import DTYPES, LOG8, Content, MaskedSpec, ResidualSpec
from pemn_formats.errors import FormatError
from pemn_formats.manifest import Manifest

__all__ = ["Dense", "check_memory", "dense_bytes", "dense_entries", "largest_entry"]

_FLOATS = ("float64", "float32", "float16", "bfloat16", LOG8)


@dataclass(frozen=True)
class Dense:
    """An entry of the dense state dict."""

    dtype: str
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        """Bytes of its values."""
        return math.prod(self.shape) * DTYPES[self.dtype].itemsize


def dense_entries(model: Manifest | Content, dtype: str = "float32") -> dict[str, Dense]:
    """Return the state dict of one model by name, floats in `dtype`, as `pemn_compress.load_file` gives it."""
    out = {name: entry for spec in _specs(model) for name, entry in _entries(spec, dtype)}
    return out | {alias: out[target] for alias, target in model.aliases.items()}


def dense_bytes(model: Manifest | Content, dtype: str = "float32") -> int:
    """Return the bytes of memory that the state dict takes; tied names share theirs."""
    return sum(_dense(spec, dtype) for spec in _specs(model))


def largest_entry(model: Manifest | Content, dtype: str = "float32") -> int:
    """Return the most bytes that one stored entry takes: as it is stored, and dense."""
    masked = [spec.mask_bytes + _dense(spec, dtype) for spec in model.masked]
    residual = [spec.stored_bytes + _dense(spec, dtype) for spec in model.residual]
    return max(masked + residual, default=0)


def check_memory(needed: int, budget: int | None, what: str) -> None:
    """Raise `FormatError` where `what` would need more bytes than the budget; None is what the machine has free.

    To be asked before anything of that size is allocated.
    """
    allowed = available_memory() if budget is None else budget
    if allowed is not None and needed > allowed:
        limit = "that this machine has free" if budget is None else "of the memory budget"
        raise FormatError(
            f"{what} would need {needed:,} bytes of memory, over the {allowed:,} bytes {limit};"
            " raise it with --memory-budget (memory_budget=) if you trust the file"
        )


def _specs(model: Manifest | Content) -> list[MaskedSpec | ResidualSpec]:
    return [*model.masked, *model.residual]


def _dense(spec: MaskedSpec | ResidualSpec, dtype: str) -> int:
    return sum(entry.nbytes for _, entry in _entries(spec, dtype))


def _entries(spec: MaskedSpec | ResidualSpec, dtype: str) -> Iterator[tuple[str, Dense]]:
    if isinstance(spec, MaskedSpec):
        yield spec.name, Dense(dtype, spec.shape)
    elif spec.kind == "bn":
        *floats, count = spec.state_names
        yield from ((name, Dense(dtype, spec.shape[1:])) for name in floats)
        yield count, Dense("int64", ())
    elif spec.kind != "scale":
        yield spec.name, Dense(dtype if spec.kind == "int8" or spec.dtype in _FLOATS else spec.dtype, spec.shape)
