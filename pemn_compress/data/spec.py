"""What a net must know about its images: how many classes and channels, which size, which mean and deviation."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from pemn_formats.errors import FormatError, PemnError

__all__ = ["DataSpec"]

_DECIMAL = re.compile(r"-?[0-9]{1,4}(\.[0-9]{1,12})?")
_INPUT_KEYS = ("data", "channels", "size", "classes", "mean", "std")


@dataclass(frozen=True)
class DataSpec:
    """The facts of a data set.

    `size` is (height, width) in pixels. `mean` and `std` hold one decimal string per channel, in units of the full
    pixel range 0..1; strings keep them equal everywhere. `class_names` is empty where they are not known.
    """

    name: str
    classes: int
    channels: int
    size: tuple[int, int]
    mean: tuple[str, ...]
    std: tuple[str, ...]
    class_names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if type(self.name) is not str or not self.name:
            raise PemnError(f"data name is {self.name!r}; expected text")
        _check_integer("classes", self.classes, 1_000_000)
        _check_integer("channels", self.channels, 1_024)
        if type(self.size) is not tuple or len(self.size) != 2:
            raise PemnError(f"image size is {self.size!r}; expected (height, width)")
        for side in self.size:
            _check_integer("image side", side, 65_536)
        _check_decimals("mean", self.mean, self.channels)
        _check_decimals("std", self.std, self.channels)
        if not all(Decimal(value) > 0 for value in self.std):
            raise PemnError(f"std is {', '.join(self.std)}; expected numbers above 0")
        if self.class_names and len(self.class_names) != self.classes:
            raise PemnError(f"{self.name}: {len(self.class_names)} class names for {self.classes} classes")

    def to_input(self) -> dict[str, Any]:
        """Return the `input` object of a `.pemn` manifest; a folder's path stays on this machine."""
        return {
            "data": self.name.partition(":")[0],
            "channels": self.channels,
            "size": list(self.size),
            "classes": self.classes,
            "mean": list(self.mean),
            "std": list(self.std),
        }

    @classmethod
    def from_input(cls, found: object) -> DataSpec:
        """Read the `input` object of a manifest; raise FormatError when it is not one that `to_input` could write."""
        if not isinstance(found, Mapping) or set(found) != set(_INPUT_KEYS):
            raise FormatError(f"manifest input is not an object with exactly {', '.join(_INPUT_KEYS)}")
        lists = {key: found[key] for key in ("size", "mean", "std")}
        for key, value in lists.items():
            if not isinstance(value, (list, tuple)):
                raise FormatError(f"manifest input: {key} is a {type(value).__name__}; expected a list")
        size, mean, std = (tuple(value) for value in lists.values())
        try:
            return cls(found["data"], found["classes"], found["channels"], size, mean, std)
        except PemnError as error:
            raise FormatError(f"manifest input: {error}") from error


def _check_integer(what: str, value: object, high: int) -> None:
    if type(value) is not int or not 1 <= value <= high:
        raise PemnError(f"{what} is {value!r}; expected a whole number from 1 to {high}")


def _check_decimals(what: str, values: object, channels: int) -> None:
    if type(values) is not tuple or len(values) != channels:
        raise PemnError(f"{what} is {values!r}; expected one decimal string per channel ({channels})")
    for value in values:
        if type(value) is not str or not _DECIMAL.fullmatch(value):
            raise PemnError(f"{what} holds {value!r}; expected a decimal string such as '0.4914'")
