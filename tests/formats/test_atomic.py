from __future__ import annotations

import contextlib
import errno
import os
import resource
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from pemn_formats import atomic
from pemn_formats.atomic import atomic_write, check_writable
from pemn_formats.errors import PemnError

OLD, NEW = b"old" * 1000, b"new" * 2000


def put(path: Path, data: bytes, *, force: bool = False) -> None:
    with atomic_write(path, force=force) as file:
        file.write(data)


@pytest.fixture
def old(tmp_path: Path) -> Path:
    path = tmp_path / "a.pemn"
    path.write_bytes(OLD)
    return path


@pytest.fixture
def umask() -> object:
    before = os.umask(0o027)
    yield 0o027
    os.umask(before)


def test_a_new_file_appears_with_what_the_umask_leaves(tmp_path: Path, umask: int) -> None:
    put(tmp_path / "a.pemn", NEW)
    assert (tmp_path / "a.pemn").read_bytes() == NEW
    assert stat.S_IMODE((tmp_path / "a.pemn").stat().st_mode) == 0o666 & ~umask
    assert os.listdir(tmp_path) == ["a.pemn"]


def test_the_umask_is_found_without_proc(tmp_path: Path, umask: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_proc(self: Path) -> str:
        raise FileNotFoundError

    monkeypatch.setattr(Path, "read_text", no_proc)
    assert atomic._umask() == umask
    monkeypatch.setattr(Path, "read_text", lambda self: "Name: python\n")
    assert atomic._umask() == umask
    assert os.umask(umask) == umask


@pytest.mark.parametrize("mode", [0o600, 0o644, 0o755, 0o440])
def test_an_old_file_keeps_its_mode(old: Path, mode: int) -> None:
    old.chmod(mode)
    put(old, NEW, force=True)
    assert old.read_bytes() == NEW
    assert stat.S_IMODE(old.stat().st_mode) == mode


def test_what_exists_is_kept_without_force(old: Path) -> None:
    with pytest.raises(PemnError, match=r"a\.pemn exists; use --force \(or force=True\) to replace it$"):
        put(old, NEW)
    assert old.read_bytes() == OLD


def test_a_link_to_nothing_is_replaced_with_force_alone(tmp_path: Path) -> None:
    link = tmp_path / "link.pemn"
    link.symlink_to(tmp_path / "nothing")
    with pytest.raises(PemnError, match=r"link\.pemn is a link to nothing; use --force"), atomic_write(link):
        pytest.fail("the block must not run")
    assert link.is_symlink()
    with atomic_write(link, force=True) as file:
        file.write(b"new")
    assert link.read_bytes() == b"new"
    assert not link.is_symlink()


@pytest.mark.parametrize("force", [False, True])
def test_places_where_no_file_can_be(tmp_path: Path, force: bool) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "fifo")
    for name, message in [
        ("none/a.pemn", "the folder .*/none does not exist$"),
        ("file/a.pemn", "the folder .*/file does not exist$"),
        ("folder", "folder is a folder; name a file$"),
        ("fifo", "fifo is not a regular file$"),
        ("a" * 300, "cannot be written: File name too long$"),
        ("a\0b", "cannot be written: embedded null byte$"),
    ]:
        with pytest.raises(PemnError, match=message):
            check_writable(tmp_path / name, force=force)
        with pytest.raises(PemnError, match=message):
            put(tmp_path / name, NEW, force=force)


def test_a_folder_without_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(PemnError, match=rf"^the folder {tmp_path} cannot be written$"):
        check_writable(tmp_path / "a.pemn")


def test_a_temporary_file_that_cannot_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(**_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(atomic.tempfile, "mkstemp", full)
    with pytest.raises(PemnError, match=r"a\.pemn cannot be written: No space left on device$"):
        put(tmp_path / "a.pemn", NEW)


@pytest.mark.parametrize("error", [ValueError("mine"), KeyboardInterrupt(), SystemExit(3)])
def test_an_error_inside_leaves_the_old_file_and_no_litter(old: Path, error: BaseException) -> None:
    def write_half() -> None:
        with atomic_write(old, force=True) as file:
            file.write(NEW)
            raise error

    with pytest.raises(type(error)):
        write_half()
    assert old.read_bytes() == OLD
    assert os.listdir(old.parent) == ["a.pemn"]


def test_nothing_is_visible_before_the_end(old: Path) -> None:
    with atomic_write(old, force=True) as file:
        file.write(NEW)
        file.flush()
        assert old.read_bytes() == OLD
        assert len(os.listdir(old.parent)) == 2
    assert old.read_bytes() == NEW


def test_a_file_that_appears_meanwhile_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "a.pemn"
    with contextlib.ExitStack() as stack:
        stack.enter_context(pytest.raises(PemnError, match="appeared while it was being written"))
        file = stack.enter_context(atomic_write(path))
        file.write(NEW)
        path.write_bytes(OLD)
    assert path.read_bytes() == OLD
    assert os.listdir(tmp_path) == ["a.pemn"]


def test_a_file_that_appears_at_the_last_moment_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, real = tmp_path / "a.pemn", os.link

    def link(source: str, target: Path) -> None:
        path.write_bytes(OLD)
        real(source, target)

    monkeypatch.setattr(os, "link", link)
    with pytest.raises(PemnError, match="appeared while it was being written"):
        put(path, NEW)
    assert path.read_bytes() == OLD
    assert os.listdir(tmp_path) == ["a.pemn"]


def test_a_file_system_without_links_gets_files_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def link(source: str, target: Path) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", link)
    path = tmp_path / "a.pemn"
    put(path, NEW)
    assert path.read_bytes() == NEW
    with contextlib.ExitStack() as stack:
        stack.enter_context(pytest.raises(PemnError, match="appeared while it was being written"))
        stack.enter_context(atomic_write(tmp_path / "b")).write(NEW)
        (tmp_path / "b").write_bytes(OLD)
    assert (tmp_path / "b").read_bytes() == OLD
    assert sorted(os.listdir(tmp_path)) == ["a.pemn", "b"]


def failing(at: int) -> object:
    """An fsync that fails at one of its calls: the file's, then the folder's."""
    real, calls = os.fsync, iter(range(100))

    def fsync(descriptor: int) -> None:
        if next(calls) == at:
            raise OSError(5, "Input/output error")
        real(descriptor)

    return fsync


def test_an_fsync_of_the_file_that_fails_leaves_the_old_one(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", failing(0))
    with pytest.raises(PemnError, match=r"a\.pemn could not be written: Input/output error$"):
        put(old, NEW, force=True)
    assert old.read_bytes() == OLD
    assert os.listdir(old.parent) == ["a.pemn"]


def test_an_fsync_of_the_folder_that_fails_is_told(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", failing(1))
    message = r"a\.pemn was written, but its folder could not be synced: Input/output error$"
    with pytest.raises(PemnError, match=message):
        put(old, NEW, force=True)
    assert old.read_bytes() == NEW
    assert os.listdir(old.parent) == ["a.pemn"]


def test_everything_is_synced_in_the_right_order(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    real_fsync, real_replace = os.fsync, os.replace

    def fsync(descriptor: int) -> None:
        calls.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")
        real_fsync(descriptor)

    def replace(source: str, target: Path) -> None:
        calls.append("rename")
        real_replace(source, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "replace", replace)
    put(old, NEW, force=True)
    assert calls == ["file", "rename", "folder"]


def test_a_rename_that_fails_leaves_the_old_file(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(source: str, target: Path) -> None:
        raise OSError("no reason given")

    monkeypatch.setattr(os, "replace", fails)
    with pytest.raises(PemnError, match=r"a\.pemn could not be written: no reason given$"):
        put(old, NEW, force=True)
    assert old.read_bytes() == OLD
    assert os.listdir(old.parent) == ["a.pemn"]


def test_a_full_disk_leaves_the_old_file_and_no_litter(old: Path) -> None:
    """A limit on file sizes stands for the disk; Python ignores the signal and gets an error from the write."""
    script = (
        "import sys, resource\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, {resource.RLIM_INFINITY}))\n"
        "from pemn_formats.atomic import atomic_write\nfrom pemn_formats.errors import PemnError\n"
        "try:\n    with atomic_write(sys.argv[1], force=True) as file:\n        file.write(bytes(1 << 20))\n"
        "except PemnError as error:\n    sys.exit(str(error))\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(old)], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == f"{old} could not be written: File too large\n"
    assert old.read_bytes() == OLD
    assert os.listdir(old.parent) == ["a.pemn"]


def test_a_long_name_has_room_for_its_temporary_file(tmp_path: Path) -> None:
    path = tmp_path / ("a" * 250)
    put(path, NEW)
    assert path.read_bytes() == NEW
