"""Numbers of bytes as people write them."""

from __future__ import annotations

import re
from decimal import Decimal

import click

__all__ = ["BYTES", "byte_size"]

_UNITS = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 2**10, "mib": 2**20, "gib": 2**30}
_SIZE = re.compile(r"\s*([0-9]{1,15}(?:\.[0-9]{1,9})?)\s*([a-z]*)\s*", re.IGNORECASE | re.ASCII)


def byte_size(text: str) -> int:
    """Bytes of a size: `64KB` is 64,000, `64KiB` is 65,536, `0.5MB` is 500,000, `65536` is itself.

    Raises:
        ValueError: with what is wrong, when the text is no positive whole number of bytes.
    """
    match = _SIZE.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is no size; write bytes with or without a unit, such as 64KB, 64KiB or 65536")
    unit = _UNITS.get(match[2].lower())
    if unit is None:
        raise ValueError(f"{text!r} has the unknown unit {match[2]!r}; known are B, KB, MB, GB, KiB, MiB, GiB")
    exact = Decimal(match[1]) * unit
    if exact != int(exact):
        raise ValueError(f"{text!r} is {exact.normalize():f} bytes; a size is a whole number of bytes")
    if exact < 1:
        raise ValueError(f"{text!r} is no bytes at all; a size is at least 1")
    return int(exact)


class _ByteSize(click.ParamType[int]):
    name = "size"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        try:
            return byte_size(str(value))
        except ValueError as error:
            self.fail(f"{error}.", param, ctx)


BYTES = _ByteSize()
"""The type of options that take a size."""
