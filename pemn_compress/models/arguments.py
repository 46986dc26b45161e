"""The kinds of argument an architecture takes: whole numbers in a range, flags, and one word of a few."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import nn

from pemn_formats.errors import PemnError

__all__ = ["Choice", "Definition", "Flag", "Integer", "Value"]

Value = int | bool | str


@dataclass(frozen=True)
class Integer:
    """A whole number from `low` to `high`, both included."""

    default: int
    low: int
    high: int

    def check(self, label: str, value: object) -> Value:
        """Return `value`, or raise PemnError when it is no whole number or out of range."""
        if type(value) is not int:
            raise PemnError(f"{label} is {value!r}; expected a whole number from {self.low} to {self.high}")
        if not self.low <= value <= self.high:
            raise PemnError(f"{label} is {value}; expected {self.low} to {self.high}")
        return value


@dataclass(frozen=True)
class Flag:
    """True or false."""

    default: bool

    def check(self, label: str, value: object) -> Value:
        """Return `value`, or raise PemnError when it is no bool."""
        if type(value) is not bool:
            raise PemnError(f"{label} is {value!r}; expected true or false")
        return value


@dataclass(frozen=True)
class Choice:
    """One word of a few."""

    default: str
    words: tuple[str, ...]

    def check(self, label: str, value: object) -> Value:
        """Return `value`, or raise PemnError when it is none of the words."""
        if type(value) is not str or value not in self.words:
            raise PemnError(f"{label} is {value!r}; expected one of {', '.join(self.words)}")
        return value


@dataclass(frozen=True)
class Definition:
    """One architecture: its name, the arguments it takes, what must hold between them, and how it is built.

    `relate` raises PemnError when arguments that are fine one by one do not fit together.
    """

    name: str
    arguments: Mapping[str, Integer | Flag | Choice]
    make: Callable[..., nn.Module]
    relate: Callable[[Mapping[str, Value]], None] | None = None
