"""Files that appear whole or not at all."""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, cast

from pemn_formats.errors import PemnError

__all__ = ["atomic_write", "check_writable"]


def check_writable(path: str | os.PathLike[str], *, force: bool = False) -> Path:
    """Return the path if a file can be put there; raise `PemnError` with the reason otherwise.

    A file that exists is refused without `force`, and so is anything that is not a regular file, always.
    """
    target = Path(path)
    folder = target.parent
    mode = _mode(target)
    if mode is not None and stat.S_ISDIR(mode):
        raise PemnError(f"{target} is a folder; name a file")
    if mode is not None and not stat.S_ISREG(mode):
        raise PemnError(f"{target} is not a regular file")
    if mode is None and not force and target.is_symlink():
        raise PemnError(f"{target} is a link to nothing; use --force (or force=True) to replace the link")
    if mode is not None and not force:
        raise PemnError(f"{target} exists; use --force (or force=True) to replace it")
    if not folder.is_dir():
        raise PemnError(f"the folder {folder} does not exist")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise PemnError(f"the folder {folder} cannot be written")
    return target


@contextlib.contextmanager
def atomic_write(path: str | os.PathLike[str], *, force: bool = False) -> Iterator[BinaryIO]:
    """Yield a binary file whose bytes replace `path` when the block ends well, and vanish when it does not.

    The bytes go to a temporary file in the same folder, which is synced and renamed, and the folder is synced. An old
    file keeps its mode; a new one gets what the umask leaves. Raises `PemnError` as `check_writable` does.
    """
    target = check_writable(path, force=force)
    old = _mode(target)
    mode = 0o666 & ~_umask() if old is None else stat.S_IMODE(old)
    try:
        descriptor, temporary = tempfile.mkstemp(prefix=f".{target.name[:100]}.", suffix=".tmp", dir=target.parent)
    except OSError as error:
        raise PemnError(f"{target} cannot be written: {error.strerror}") from None
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield cast(BinaryIO, file)
            file.flush()
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        if force:
            os.replace(temporary, target)
        else:
            _place_new(temporary, target)
    except BaseException as error:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        if isinstance(error, OSError):
            raise PemnError(f"{target} could not be written: {error.strerror or error}") from None
        raise
    try:
        _sync_folder(target.parent)
    except OSError as error:
        raise PemnError(
            f"{target} was written, but its folder could not be synced: {error.strerror or error}"
        ) from None


def _place_new(temporary: str, target: Path) -> None:
    """Give the file its name if nothing has that name by then. A rename would replace it."""
    taken = f"{target} appeared while it was being written; use --force (or force=True) to replace it"
    try:
        os.link(temporary, target)
    except FileExistsError:
        raise PemnError(taken) from None
    except OSError:
        # Some file systems have no hard links.
        if target.exists():
            raise PemnError(taken) from None
        os.replace(temporary, target)
        return
    os.unlink(temporary)


def _mode(target: Path) -> int | None:
    try:
        return target.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        raise PemnError(f"{target} cannot be written: {getattr(error, 'strerror', None) or error}") from None


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _umask() -> int:
    # The umask can only be read by setting it; the status file says it without a race where there is one.
    with contextlib.suppress(OSError, StopIteration, ValueError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("Umask:"):
                return int(line.split()[1], 8)
    current = os.umask(0o022)
    os.umask(current)
    return current
