"""Whether an option's value makes sense, and one line that says so when it does not."""

from __future__ import annotations

import math

from pemn_formats.errors import PemnError

__all__ = ["choice", "flag", "number", "whole"]


def whole(config: object, name: str, least: int, most: int | None = None) -> None:
    """Raise `PemnError` unless field `name` is a whole number within its range."""
    value = getattr(config, name)
    if type(value) is not int or value < least or (most is not None and value > most):
        wanted = f"from {least} to {most}" if most is not None else f"of at least {least}"
        raise PemnError(f"{name} must be a whole number {wanted}, found {value!r}")


def number(
    config: object, name: str, least: float, most: float = math.inf, *, above: bool = False, below: bool = False
) -> None:
    """Raise `PemnError` unless field `name` is a number within its range; `above` and `below` leave out the ends."""
    value = getattr(config, name)
    fine = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if not fine or value < least or value > most or (above and value == least) or (below and value == most):
        low = f"above {least:g}" if above else f"of at least {least:g}"
        high = "" if most == math.inf else f" and {'below' if below else 'at most'} {most:g}"
        raise PemnError(f"{name} must be a number {low}{high}, found {value!r}")


def choice(config: object, name: str, choices: tuple[str, ...]) -> None:
    """Raise `PemnError` unless field `name` is one of `choices`."""
    value = getattr(config, name)
    if value not in choices:
        raise PemnError(f"{name} must be one of {', '.join(choices)}, found {value!r}")


def flag(config: object, name: str) -> None:
    """Raise `PemnError` unless field `name` is true or false."""
    value = getattr(config, name)
    if not isinstance(value, bool):
        raise PemnError(f"{name} must be true or false, found {value!r}")
