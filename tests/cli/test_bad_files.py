"""Every file that is not a sound `.pemn` ends in one line, the right exit code, and nothing left behind."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

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


def unix_socket(path: Path, sound: bytes) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.path.relpath(path))  # the name of a socket has room for 107 bytes


def link_to_a_device(path: Path, sound: bytes) -> None:
    path.symlink_to("/dev/tty")  # which cannot be opened where there is no terminal


on_posix = pytest.mark.skipif(sys.platform == "win32", reason="no such files")
# What follows the file's name; in braces the bytes of the sound file, of half of it, and without its last one.
CASES: list[Any] = [
    (missing, 1, " cannot be opened: No such file or directory"),
    (text, 3, ": not a .pemn file: it starts with b'epochs: '"),
    (empty, 3, ": the file is empty"),
    (one_byte, 3, ": the file is truncated: it has 1 bytes, its prelude alone takes 128"),
    (truncated, 3, ": the file is truncated: it has {half} bytes, expected {size}"),
    (one_byte_short, 3, ": the file is truncated: it has {short} bytes, expected {size}"),
    (longer, 3, ": 1 bytes follow the end of the file at {size}"),
    (flipped_in_header, 3, ": the header is damaged: its SHA-256 differs"),
    (flipped_at_end, 3, ": a chunk of the residual ('bn' to 'blocks.0.bn2') is damaged: its CRC-32 differs"),
    (line_endings, 3, ": the file was damaged by a text-mode transfer: its first bytes are a changed .pemn signature"),
    (safetensors, 3, ": not a .pemn file: it looks like safetensors; export a trained run to get a .pemn file"),
    (folder, 3, " is a folder; name a .pemn file"),
    pytest.param(fifo, 3, " is not a regular file; name a .pemn file", marks=on_posix),
    pytest.param(unix_socket, 3, " is not a regular file; name a .pemn file", marks=on_posix),
    pytest.param(link_to_a_device, 3, " is not a regular file; name a .pemn file", marks=on_posix),
]


@pytest.mark.parametrize("command", READERS)
@pytest.mark.parametrize(("damage", "code", "message"), CASES)
def test_a_bad_file_is_one_line(
    command: str,
    damage: Callable[[Path, bytes], None],
    code: int,
    message: str,
    digits_bytes: bytes,
    tmp_path: Path,
    assert_fails: Callable[..., str],
) -> None:
    path = tmp_path / "bad.pemn"
    damage(path, digits_bytes)
    before = sorted(tmp_path.iterdir())
    line = assert_fails(code, command, path)
    size = len(digits_bytes)
    assert line == f"error: {path}" + message.format(half=size // 2, short=size - 1, size=size)
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
