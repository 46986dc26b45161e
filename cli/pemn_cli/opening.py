"""Open a `.pemn` file for a command, so that every complaint about it says which file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pemn_formats.content import Content
    from pemn_formats.reader import Reader

__all__ = ["about", "content_of", "opened"]


@contextmanager
def about(path: Path) -> Iterator[None]:
    """Put `path` in front of the message of an error that does not name it.

    Raises:
        FormatError, PemnError: as the block did, with the name.
    """
    from pemn_formats.errors import PemnError

    try:
        yield
    except PemnError as error:
        if str(path) in str(error):
            raise
        raise type(error)(f"{path}: {error}") from None


@contextmanager
def opened(path: Path, *, memory_budget: int | None = None) -> Iterator[Reader]:
    """A reader of a file whose header and payload digests were checked, and whose streams decode to the budget at most.

    Raises:
        FormatError: the file is damaged or not ours.
        PemnError: it cannot be opened.
    """
    from pemn_formats.reader import Reader

    with about(path), Reader.open(path, memory_budget=_packed(memory_budget)) as reader:
        reader.verify_payload()
        yield reader


def content_of(path: Path, *, memory_budget: int | None = None) -> Content:
    """Everything that a file holds, decoded and checked. Errors as `opened`."""
    from pemn_formats.reader import read

    with about(path):
        return read(path, memory_budget=_packed(memory_budget))


def _packed(memory_budget: int | None) -> int:
    from pemn_formats.limits import DEFAULT_MEMORY_BUDGET

    return DEFAULT_MEMORY_BUDGET if memory_budget is None else memory_budget
