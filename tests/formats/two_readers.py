"""What the two readers say of the same bytes."""

from __future__ import annotations

import second_reader
from fuzz import BUDGET
from make_golden import GOLDEN, golden_bytes

from pemn_formats.errors import FormatError
from pemn_formats.reader import read
from pemn_formats.writer import content_id

FILES = golden_bytes() | {path.stem: path.read_bytes() for path in sorted(GOLDEN.glob("*.pemn"))}


def first(data: bytes) -> str | None:
    """The content id that our reader gives, or None where it refuses."""
    try:
        return content_id(read(data, memory_budget=BUDGET))
    except FormatError:
        return None


def second(data: bytes) -> str | None:
    """The same of the second reader."""
    try:
        return second_reader.load(data, BUDGET).content_id()
    except second_reader.RefusedError:
        return None
