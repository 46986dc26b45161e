from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from pemn_compress.train import reserve, run_lock
from pemn_compress.train.reserve import reserved
from pemn_compress.train.run import RunFolder
from pemn_compress.train.run_config import RunConfig
from pemn_compress.train.run_lock import claimed
from pemn_formats.errors import PemnError


def test_a_folder_is_held_once_at_a_time_and_nothing_is_left_in_it(tmp_path: Path) -> None:
    for _ in range(2):
        with claimed(tmp_path):
            with pytest.raises(PemnError, match="is being started or trained by another process"), claimed(tmp_path):
                pass
            assert list(tmp_path.iterdir()) == []
    with pytest.raises(ValueError, match="of the body"), claimed(tmp_path):
        raise ValueError("of the body")
    with claimed(tmp_path):
        pass


def test_a_folder_that_a_worker_still_has_open_is_let_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[int] = []

    def as_if_forked(*arguments: Any) -> int:
        handle = os_open(*arguments)
        opened.append(os.dup(handle))  # shares the lock, as the handle of a forked process does
        return handle

    os_open = os.open
    with monkeypatch.context() as patch:
        patch.setattr(run_lock.os, "open", as_if_forked)
        with claimed(tmp_path):
            pass
    try:
        with claimed(tmp_path):
            pass
    finally:
        os.close(opened[0])


def test_a_reserved_folder_is_held_until_the_run_has_begun(tmp_path: Path) -> None:
    refused = r"the run .*a is being started or trained by another process; wait for it"

    def refuse(*, force: bool, message: str = refused) -> None:
        with pytest.raises(PemnError, match=message), reserved(tmp_path, "a", "stem", force=force):
            pytest.fail("the folder was handed out")

    with reserved(tmp_path, "a", "stem") as folder:
        refuse(force=False)
        refuse(force=True)
        assert list(folder.iterdir()) == []
        RunFolder.create(folder, {"options": RunConfig().to_dict(), "input": {}})
    refuse(force=False, message="the run .*a exists; go on with")
    with claimed(folder):
        refuse(force=True)
    assert (folder / "config.json").exists()


def test_without_locks_nothing_is_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none_here(*_: object) -> None:
        raise OSError(errno.ENOLCK, "no locks")

    with monkeypatch.context() as patch:
        patch.setattr(run_lock.fcntl, "flock", none_here)
        with claimed(tmp_path), claimed(tmp_path):
            pass
    monkeypatch.setattr("sys.platform", "win32")
    with claimed(tmp_path), claimed(tmp_path):
        pass


def test_a_reservation_that_comes_to_nothing_leaves_no_folder(tmp_path: Path) -> None:
    runs = tmp_path / "mine" / "runs"
    for name in ("a", None):
        with reserved(runs, name, "stem") as folder:
            assert folder.parent == runs
        assert list(tmp_path.iterdir()) == []
    with reserved(runs, "a", "stem") as folder:
        (folder / "kept").touch()
        with reserved(runs, "b", "stem"):
            pass
    assert [path.name for path in runs.iterdir()] == ["a"]


@pytest.mark.parametrize("name", ["a", None])
def test_a_folder_of_runs_that_another_process_removes_is_made_again(
    name: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    function = "_new" if name is None else "_named"
    make = getattr(reserve, function)

    def later(*arguments: Any) -> Path:
        runs.rmdir()
        folder: Path = make(*arguments)
        return folder

    runs = tmp_path / "runs"
    monkeypatch.setattr(reserve, function, later)
    with reserved(runs, name, "stem") as folder:
        assert folder.is_dir()
