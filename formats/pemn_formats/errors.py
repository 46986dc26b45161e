"""The two errors that callers catch."""

from __future__ import annotations

__all__ = ["FormatError", "PemnError"]


class PemnError(Exception):
    """Something expected went wrong: bad input, a missing file, an impossible request. Its text is one line."""


class FormatError(PemnError):
    """A file or byte string is damaged, hostile, or not a `.pemn` container."""
