"""Claim a folder for a new run before any work is done."""

from __future__ import annotations

import contextlib
import os
import shlex
import tempfile
from collections.abc import Iterator
from pathlib import Path

from pemn_compress.train.run import CONFIG
from pemn_compress.train.run_lock import claimed
from pemn_formats.errors import PemnError

__all__ = ["reserved"]


@contextlib.contextmanager
def reserved(runs: str | os.PathLike[str], name: str | None, stem: str, *, force: bool = False) -> Iterator[Path]:
    """Hold a folder for a new run, in which files can be written, against every other process that wants it.

    Folders that were made for it are removed at the end if nothing was put there.

    Args:
        runs: the folder of runs, made if it is missing.
        name: the run's name; None takes `stem`, or `stem-2`, `stem-3`, ... if that is taken.
        stem: what a run of these options is called.
        force: allow a run of that name; it is dropped when the new one starts.

    Raises:
        PemnError: the name is no plain name, the folder exists, is no run, is held by another process, or cannot be
            written.
    """
    parent = Path(runs)
    if name is not None and (name in ("", ".", "..") or "/" in name or "\0" in name):
        raise PemnError(
            f"run name {name!r} is not a plain folder name; the folder that holds runs is set by --runs-dir"
        )
    with contextlib.ExitStack() as held:
        try:
            for missing in _missing(parent):
                held.callback(_drop_empty, missing)
            parent.mkdir(parents=True, exist_ok=True)
            folder = _new(parent, stem) if name is None else _named(parent / name)
            held.enter_context(claimed(folder))
            held.callback(_drop_empty, folder)
            # Nobody else can begin or end a run there from here on.
            _check_free(folder, force)
            with tempfile.NamedTemporaryFile(prefix=".probe-", dir=folder):
                pass
        except OSError as error:
            raise PemnError(f"the run folder {error.filename or parent} cannot be written: {error.strerror}") from None
        yield folder


def _missing(folder: Path) -> list[Path]:
    """The folders to be made before there is `folder`, from the outermost on."""
    return [path for path in reversed([folder, *folder.parents]) if not path.exists()]


def _new(parent: Path, stem: str) -> Path:
    number = 1
    while True:
        folder = parent / (stem if number == 1 else f"{stem}-{number}")
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            number += 1
        else:
            return folder


def _named(folder: Path) -> Path:
    try:
        folder.mkdir(parents=True)
    except FileExistsError:
        if not folder.is_dir():
            raise PemnError(f"{folder} exists and is no folder; choose another --run") from None
    return folder


def _check_free(folder: Path, force: bool) -> None:
    if not any(folder.iterdir()):
        return
    if not (folder / CONFIG).is_file():
        raise PemnError(f"{folder} exists and is no training run; choose another --run")
    if not force:
        typed = shlex.quote(str(folder))
        raise PemnError(f"the run {folder} exists; go on with --resume {typed}, or drop it with --force")


def _drop_empty(folder: Path) -> None:
    with contextlib.suppress(OSError):
        folder.rmdir()
