"""Every file that is not a sound `.pemn` ends in one line, the right exit code, and nothing left behind."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

READERS = ("size-report", "inspect", "verify", "load", "eval")


def missing(_: Path, sound: bytes) -> None:
    return


def text(path: Path, sound: bytes) -> None:
    path.write_text("epochs: 30\nlr: 0.02\n" * 40)


def empty(path: Path, sound: bytes) -> None:
    path.touch()


def one_byte(path: Path, sound: bytes) -> None:
    path.write_bytes(sound[:1])


def truncated(path: Path, sound: bytes) -> None:
    path.write_bytes(sound[: len(sound) // 2])


def one_byte_short(path: Path, sound: bytes) -> None:
    path.write_bytes(sound[:-1])


def longer(path: Path, sound: bytes) -> None:
    path.write_bytes(sound + b"\0")


def flipped_in_header(path: Path, sound: bytes) -> None:
    path.write_bytes(flip(sound, 200))


def flipped_at_end(path: Path, sound: bytes) -> None:
    path.write_bytes(flip(sound, len(sound) - 3))


def line_endings(path: Path, sound: bytes) -> None:
    path.write_bytes(sound.replace(b"\r\n", b"\n"))


def safetensors(path: Path, sound: bytes) -> None:
    save_file({"weight": np.zeros((4, 4), np.float32)}, path)


def folder(path: Path, sound: bytes) -> None:
    path.mkdir()


def fifo(path: Path, sound: bytes) -> None:
    os.mkfifo(path)


def flip(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 16]) + data[at + 1 :]


CASES: list[tuple[Callable[[Path, bytes], None], int, str]] = [
    (missing, 1, "No such file"),
    (text, 3, "not a .pemn file"),
    (empty, 3, "empty|too short|0 bytes"),
    (one_byte, 3, "too short|1 byte"),
    (truncated, 3, "bytes"),
    (one_byte_short, 3, "bytes"),
    (longer, 3, "bytes"),
    (flipped_in_header, 3, "header is damaged"),
    (flipped_at_end, 3, "damaged|differs|CRC"),
    (line_endings, 3, "line|text"),
    (safetensors, 3, "not a .pemn file"),
    (folder, 3, "folder"),
    pytest.param(fifo, 3, "regular file", marks=pytest.mark.skipif(sys.platform == "win32", reason="no FIFO")),
]


@pytest.mark.parametrize("command", READERS)
@pytest.mark.parametrize(("damage", "code", "words"), CASES)
def test_a_bad_file_is_one_line(
    command: str,
    damage: Callable[[Path, bytes], None],
    code: int,
    words: str,
    digits_bytes: bytes,
    tmp_path: Path,
    assert_fails: Callable[..., str],
) -> None:
    path = tmp_path / "bad.pemn"
    damage(path, digits_bytes)
    before = sorted(tmp_path.iterdir())
    line = assert_fails(code, command, path)
    assert str(path) in line
    assert any(word in line for word in words.split("|")), line
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize("option", ["--to", "--plot"])
def test_a_bad_file_leaves_no_output(
    option: str, digits_bytes: bytes, tmp_path: Path, assert_fails: Callable[..., str]
) -> None:
    path = tmp_path / "bad.pemn"
    path.write_bytes(digits_bytes[:-9])
    command, output = ("load", "out.safetensors") if option == "--to" else ("size-report", "out.svg")
    assert_fails(3, command, path, option, tmp_path / output)
    assert [each.name for each in tmp_path.iterdir()] == ["bad.pemn"]
