"""Checks of single JSON fields that nobody has vouched for; each raises `FormatError` with the field's name."""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np

from pemn_formats.errors import FormatError
from pemn_formats.names import shown

__all__ = ["check_depth", "choice", "column", "float32", "integer", "json_list", "json_object"]


def json_object(value: Any, keys: tuple[str, ...] | None, what: str) -> None:
    """Check that a value is an object with exactly these keys; None allows any."""
    if not isinstance(value, dict):
        raise FormatError(f"{what} must be an object, found {type(value).__name__}")
    if keys is None:
        return
    for key in value:
        if key not in keys:
            raise FormatError(f"{what} has the unknown key {shown(key)}")
    for key in keys:
        if key not in value:
            raise FormatError(f"{what} lacks the key {key!r}")


def json_list(value: Mapping[str, Any], key: str) -> list[Any]:
    """Return a list that stands under a key."""
    column = value[key]
    if not isinstance(column, list):
        raise FormatError(f"{key!r} must be a list, found {type(column).__name__}")
    return column


def column(value: Mapping[str, Any], key: str, length: int, what: str) -> list[Any]:
    """Return a list of a given length that stands under a key."""
    column = json_list(value, key)
    if len(column) != length:
        raise FormatError(f"{key!r} has {len(column)} entries for {length} {what}")
    return column


def integer(value: Any, least: int, most: int, what: str) -> int:
    """Return an integer within bounds; a boolean is none."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise FormatError(f"{what} must be an integer, found {type(value).__name__}")
    if not least <= value <= most:
        raise FormatError(f"{what} is {value}, expected {least} to {most}")
    return value


def float32(value: Any, what: str) -> np.float32:
    """Return the finite float32 whose bits an integer gives."""
    bits = integer(value, 0, 0xFFFFFFFF, what)
    number = float(struct.unpack("<f", struct.pack("<I", bits))[0])
    if not math.isfinite(number):
        raise FormatError(f"{what} is not finite")
    exact: np.float32 = np.float32(number)
    return exact


def choice(value: Any, known: tuple[str, ...], what: str) -> str:
    """Return a string that is one of the known ones."""
    if not isinstance(value, str) or value not in known:
        found = shown(value) if isinstance(value, str) else type(value).__name__
        raise FormatError(f"unknown {what.split(' ', 1)[1]} {found}; known: {', '.join(known)}")
    return value


def check_depth(value: Any, left: int) -> None:
    """Raise `FormatError` where a value is nested deeper than `left` levels."""
    if left < 0:
        raise FormatError("'x' is nested too deeply")
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        check_depth(item, left - 1)
