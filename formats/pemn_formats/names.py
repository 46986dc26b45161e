"""Which tensor names are accepted."""

from __future__ import annotations

from pemn_formats.errors import FormatError
from pemn_formats.limits import MAX_NAME_BYTES

__all__ = ["RESERVED_PREFIX", "TASK_SEPARATOR", "check_name", "check_task_name", "shown"]

RESERVED_PREFIX = "pemn:"
TASK_SEPARATOR = ":"


def shown(name: str) -> str:
    """Return a name as an error may quote it: printable, on one line, and short."""
    text = ascii(name)
    return text if len(text) <= 80 else f"{text[:76]}...'"


def check_name(name: str, *, empty: bool = False) -> str:
    """Return a name of 1 to 255 printable ASCII characters without `/`, `\\`, `..` and the reserved prefix.

    `empty` also allows the empty name (the root module). Raises `FormatError`: a name that could escape a folder or
    confuse a terminal has no place in a file.
    """
    if not name and not empty:
        raise FormatError("a tensor has an empty name")
    if len(name) > MAX_NAME_BYTES:
        raise FormatError(f"the name {shown(name)} has {len(name)} characters, at most {MAX_NAME_BYTES} are allowed")
    if not name.isascii() or not all(" " <= char <= "~" for char in name):
        raise FormatError(f"the name {shown(name)} holds characters outside printable ASCII")
    if "/" in name or "\\" in name or ".." in name:
        raise FormatError(f"the name {shown(name)} holds '/', '\\' or '..'")
    if name.startswith(RESERVED_PREFIX):
        raise FormatError(f"the name {shown(name)} starts with the reserved prefix {RESERVED_PREFIX!r}")
    return name


def check_task_name(name: str) -> str:
    """Return a name that a task may have: as of a tensor, without the `:` that parts the two. Raises `FormatError`."""
    if not name:
        raise FormatError("a task has an empty name")
    if TASK_SEPARATOR in name:
        raise FormatError(f"the task {shown(name)} holds a ':'")
    if (name + TASK_SEPARATOR).startswith(RESERVED_PREFIX):
        raise FormatError(f"the task name {shown(name)} is reserved")
    return check_name(name)
