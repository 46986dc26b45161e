"""A run is started or trained by one process at a time."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pemn_formats.errors import PemnError

if sys.platform != "win32":
    import fcntl

__all__ = ["claimed"]


@contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """Hold a run's folder against other processes that would start, train or replace the run.

    The lock is the kernel's, on the folder itself: it leaves no file behind and ends with the process, however that
    ends. Where there is no such lock (Windows, some network file systems) nothing is held.

    Raises:
        PemnError: another process holds it.
    """
    if sys.platform == "win32":
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise PemnError(
                f"the run {folder} is being started or trained by another process; wait for it to end, or stop it first"
            ) from None
        except OSError:
            pass  # a file system without locks
        if not _is_still(handle, folder):
            raise PemnError(f"the run {folder} was just given up by another process; start again")
        yield
    finally:
        with suppress(OSError):
            # Closing is not enough while a forked worker, which loads images, still has the folder open.
            fcntl.flock(handle, fcntl.LOCK_UN)
        os.close(handle)


def _is_still(handle: int, folder: Path) -> bool:
    """Whether a folder is the one that was opened, and not gone or made anew meanwhile."""
    try:
        return os.path.samestat(os.fstat(handle), os.stat(folder))
    except FileNotFoundError:
        return False
