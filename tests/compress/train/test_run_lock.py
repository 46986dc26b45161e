from __future__ import annotations

import errno
from pathlib import Path

import pytest

from pemn_compress.train import run_lock
from pemn_compress.train.run_lock import claimed
from pemn_formats.errors import PemnError


def test_a_folder_is_held_once_at_a_time_and_nothing_is_left_in_it(tmp_path: Path) -> None:
    for _ in range(2):
        with claimed(tmp_path):
            with pytest.raises(PemnError, match="is being trained by another process"), claimed(tmp_path):
                pass
            assert list(tmp_path.iterdir()) == []
    with pytest.raises(ValueError, match="of the body"), claimed(tmp_path):
        raise ValueError("of the body")
    with claimed(tmp_path):
        pass


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
