"""Two writers of one file: threads, and processes."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from pemn_formats.atomic import atomic_write
from pemn_formats.errors import PemnError


def put(path: Path, data: bytes, *, force: bool = False) -> None:
    with atomic_write(path, force=force) as file:
        file.write(data)


def test_two_threads_at_once_leave_one_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "a.pemn"
    torn: list[bytes] = []

    def write(byte: bytes) -> None:
        for _ in range(40):
            put(path, byte * 50_000, force=True)
            data = path.read_bytes()
            if len(data) != 50_000 or data.count(data[0]) != len(data):
                torn.append(data)

    threads = [threading.Thread(target=write, args=(byte,)) for byte in (b"a", b"b")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not torn
    assert os.listdir(tmp_path) == ["a.pemn"]


def test_of_two_new_writers_the_second_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.pemn"
    with contextlib.ExitStack() as stack:
        stack.enter_context(pytest.raises(PemnError, match="appeared while it was being written"))
        first = stack.enter_context(atomic_write(path))
        put(path, b"second")
        first.write(b"first")
    assert path.read_bytes() == b"second"


WRITE_MANY = """
import sys
from pathlib import Path
from pemn_formats.atomic import atomic_write
from pemn_formats.errors import PemnError
folder, byte, force = Path(sys.argv[1]), sys.argv[2].encode(), sys.argv[3] == "True"
won = []
sys.stdin.readline()
for at in range(60):
    try:
        with atomic_write(folder / ("a" if force else f"{at}"), force=force) as file:
            file.write(byte * 50_000)
        won.append(at)
    except PemnError as error:
        assert "appeared while" in str(error) or "exists; use --force" in str(error), error
print(*won)
"""


def two_processes(folder: Path, *, force: bool) -> tuple[set[int], set[int]]:
    """Which writes each of two processes finished that began together, of the same names."""
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITE_MANY, str(folder), byte, str(force)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for byte in "ab"
    ]
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write("go\n")
        writer.stdin.flush()
    while force and any(writer.poll() is None for writer in writers):
        if (folder / "a").exists():
            data = (folder / "a").read_bytes()
            assert data in (b"a" * 50_000, b"b" * 50_000)
    first, second = ({int(at) for at in writer.communicate()[0].split()} for writer in writers)
    assert [writer.returncode for writer in writers] == [0, 0]
    return first, second


def test_two_processes_that_replace_one_file_leave_it_whole_at_any_moment(tmp_path: Path) -> None:
    assert two_processes(tmp_path, force=True) == (set(range(60)), set(range(60)))
    assert os.listdir(tmp_path) == ["a"]


def test_of_two_processes_that_make_a_new_file_one_succeeds(tmp_path: Path) -> None:
    first, second = two_processes(tmp_path, force=False)
    assert not first & second
    assert first | second == set(range(60))
    assert {int(path.name) for path in tmp_path.iterdir()} == first | second
    for byte, won in ((b"a", first), (b"b", second)):
        assert all((tmp_path / f"{at}").read_bytes() == byte * 50_000 for at in won)
