"""What the two readers say of the same bytes."""

from __future__ import annotations

from typing import Any

import second_reader
from fuzz import BUDGET
from make_golden import GOLDEN, golden_bytes

from pemn_formats import reader
from pemn_formats.content import Content
from pemn_formats.errors import FormatError
from pemn_formats.limits import DEFAULT_MEMORY_BUDGET
from pemn_formats.writer import content_id

FILES = golden_bytes() | {path.stem: path.read_bytes() for path in sorted(GOLDEN.glob("*.pemn"))}


def first(data: bytes) -> str | None:
    """The content id that our reader gives, or None where it refuses."""
    try:
        return content_id(reader.read(data, memory_budget=BUDGET))
    except FormatError:
        return None


def second(data: bytes, budget: int = BUDGET) -> str | None:
    """The same of the second reader."""
    try:
        return second_reader.load(data, budget).content_id()
    except second_reader.RefusedError:
        return None


def read(data: bytes, **options: Any) -> Content:
    """Our `read`, for tests of hostile bytes: the second reader must refuse what it refuses and accept what it does."""
    theirs = second(data, options.get("memory_budget", DEFAULT_MEMORY_BUDGET))
    try:
        content = reader.read(data, **options)
    except FormatError:
        assert theirs is None, "only the second reader accepts this"
        raise
    assert theirs == content_id(content), "the second reader refuses this, or reads something else"
    return content
