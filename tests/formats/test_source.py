from __future__ import annotations

import io
import mmap
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from samples import SAMPLES, one_tensor, random_bits

from pemn_formats.errors import FormatError, PemnError
from pemn_formats.reader import Reader, read
from pemn_formats.source import Source
from pemn_formats.writer import encode

DATA = encode(SAMPLES["keep_tile"]())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "a.pemn"
    path.write_bytes(DATA)
    return path


def test_every_origin_gives_the_same_bytes(path: Path) -> None:
    for origin in (path, str(path), DATA, bytearray(DATA), memoryview(DATA), io.BytesIO(DATA)):
        with Source(origin) as source:
            assert source.size == len(DATA)
            assert source.read(0, 8) == DATA[:8]
            assert source.read(len(DATA) - 3, 3) == DATA[-3:]
            assert source.read(5, 0) == b""
            source.check_unchanged()


def test_a_mapped_file_gives_the_same_bytes(path: Path) -> None:
    with Source(path, mmap=True) as source:
        assert (source.read(0, 8), source.read(len(DATA) - 3, 3), source.read(5, 0)) == (DATA[:8], DATA[-3:], b"")
    assert read(path, mmap=True).seed == 2022


def test_mapping_changes_nothing_for_what_cannot_be_mapped(tmp_path: Path) -> None:
    assert read(DATA, mmap=True).seed == read(io.BytesIO(DATA), mmap=True).seed == 2022
    (tmp_path / "empty").touch()
    with pytest.raises(FormatError, match=r"^the file is empty$"):
        read(tmp_path / "empty", mmap=True)


def test_a_mapped_file_that_shrinks_while_it_is_read(path: Path) -> None:
    with Reader.open(path, mmap=True) as reader:
        os.truncate(path, len(DATA) - 1)
        with pytest.raises(FormatError, match=r"^the file became shorter while it was read: \d+ of \d+ bytes at \d+$"):
            reader.content()


def test_a_file_system_that_maps_nothing_is_named(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(19, "No such device")

    monkeypatch.setattr(mmap, "mmap", refuse)
    with pytest.raises(PemnError, match=r"a\.pemn cannot be mapped: No such device; read it without mmap$"):
        Source(path, mmap=True)


@pytest.mark.parametrize("kind", ["path", "bytes", "file object"])
def test_a_short_read_is_an_error(kind: str, path: Path) -> None:
    origin = {"path": path, "bytes": DATA, "file object": io.BytesIO(DATA)}[kind]
    message = rf"^the file became shorter while it was read: 3 of 4 bytes at {len(DATA) - 3}$"
    with Source(origin) as source, pytest.raises(FormatError, match=message):
        source.read(len(DATA) - 3, 4)


@pytest.mark.parametrize("kind", ["path", "bytes", "file object"])
def test_a_closed_source_says_so(kind: str, path: Path) -> None:
    file = io.BytesIO(DATA)
    source = Source({"path": path, "bytes": DATA, "file object": file}[kind])
    source.close()
    source.close()
    with pytest.raises(PemnError, match=r"is closed$"):
        source.read(0, 1)
    assert not file.closed


def test_a_missing_file_is_an_ordinary_error(tmp_path: Path) -> None:
    missing = tmp_path / "none.pemn"
    with pytest.raises(PemnError, match=r"none\.pemn cannot be opened: No such file or directory$") as caught:
        read(missing)
    assert type(caught.value) is PemnError


@pytest.mark.parametrize("name", ["a" * 300, "a\0b", "a.pemn/b"])
def test_names_that_cannot_be_are_ordinary_errors(name: str, path: Path) -> None:
    with pytest.raises(PemnError, match=r"cannot be opened: (File name too long|embedded null byte|Not a directory)$"):
        read(path.parent / name)


def test_a_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=rf"^{tmp_path} is a folder; name a .pemn file$"):
        read(tmp_path)


def test_a_fifo_is_refused_without_waiting_for_a_writer(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    with pytest.raises(FormatError, match=r"fifo is not a regular file; name a .pemn file$"):
        read(fifo)


@pytest.mark.parametrize("device", ["/dev/null", "/dev/zero", "/dev/tty"])
def test_a_device_is_refused(device: str) -> None:
    with pytest.raises(FormatError, match=rf"^{device} is not a regular file; name a .pemn file$"):
        read(device)


def test_a_socket_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket")
        with pytest.raises(FormatError, match=r"^socket is not a regular file; name a .pemn file$"):
            read("socket")


def test_a_folder_that_may_not_be_opened_is_a_folder_still(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> int:
        raise PermissionError(13, "Permission denied")

    (tmp_path / "a.pemn").touch()
    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(FormatError, match=rf"^{tmp_path} is a folder; name a .pemn file$"):
        read(tmp_path)
    with pytest.raises(PemnError, match=r"a\.pemn cannot be opened: Permission denied$"):
        read(tmp_path / "a.pemn")


def test_an_empty_file_is_said_to_be_empty(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    with pytest.raises(FormatError, match=r"^the file is empty$"):
        read(tmp_path / "empty")


def test_links_are_followed(path: Path) -> None:
    link = path.with_name("link.pemn")
    link.symlink_to(path)
    assert read(link).seed == 2022
    path.unlink()
    with pytest.raises(PemnError, match=r"cannot be opened: No such file or directory$"):
        read(link)


def test_a_file_that_is_replaced_while_it_is_read_stays_the_old_one(path: Path) -> None:
    other = path.with_name("other.pemn")
    other.write_bytes(encode(one_tensor()))
    with Reader.open(path) as reader:
        os.replace(other, path)
        assert reader.content().seed == 2022
    assert read(path).seed == 1


def test_a_file_that_shrinks_while_it_is_read(path: Path) -> None:
    with Reader.open(path) as reader:
        os.truncate(path, len(DATA) - 1)
        with pytest.raises(FormatError, match=r"^the file became shorter while it was read: \d+ of \d+ bytes at \d+$"):
            reader.content()


@pytest.mark.parametrize("call", [Reader.content, Reader.verify_payload, lambda reader: reader.residual("head.bias")])
def test_a_file_that_is_written_to_while_it_is_read(path: Path, call: object) -> None:
    with Reader.open(path) as reader:
        changed = bytearray(DATA)
        changed[-1] ^= 1
        path.write_bytes(changed)
        os.utime(path, ns=(1, 1))
        with pytest.raises(FormatError, match=r"^the file changed while it was read$"):
            call(reader)  # type: ignore[operator]


def test_a_header_that_is_written_to_while_it_is_read(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Source.read

    def read_then_change(self: Source, offset: int, length: int) -> bytes:
        data = real(self, offset, length)
        if length == 128:
            changed = bytearray(DATA)
            changed[200] ^= 1
            path.write_bytes(changed)
            os.utime(path, ns=(1, 1))
        return data

    monkeypatch.setattr(Source, "read", read_then_change)
    with pytest.raises(FormatError, match=r"^the file changed while it was read$"):
        read(path)


def test_what_is_appended_while_it_is_read_is_not_seen(path: Path) -> None:
    with Reader.open(path) as reader:
        with path.open("ab") as file:
            file.write(b"more")
        assert reader.content().seed == 2022
    with pytest.raises(FormatError, match=rf"^4 bytes follow the end of the file at {len(DATA)}$"):
        read(path)


def test_reads_that_come_in_pieces_are_put_together(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.pread
    monkeypatch.setattr(os, "pread", lambda descriptor, length, offset: real(descriptor, min(length, 7), offset))
    assert read(path).seed == 2022


class Odd(io.BytesIO):
    """A file object whose `read` does what it is told to."""

    def __init__(self, act: Callable[[bytes], object]) -> None:
        super().__init__(DATA)
        self._act = act

    def read(self, size: int | None = -1) -> Any:
        return self._act(super().read(size))


def fail(_: bytes) -> None:
    raise OSError(5, "Input/output error")


def test_a_file_object_that_gives_little_at_a_time_is_asked_again() -> None:
    asked = []

    class Short(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            asked.append(size)
            return super().read(min(size or 0, 100))

    assert read(Short(DATA)).seed == 2022
    assert 128 in asked
    assert 28 in asked


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (fail, "the file object cannot be read: Input/output error"),
        (lambda _: None, "the file object gave NoneType instead of bytes; pass a blocking one in binary mode"),
        (lambda data: data.decode("latin-1"), "the file object gave str instead of bytes; pass a blocking one in .*"),
        (lambda data: data[:0], r"the file became shorter while it was read: 0 of 128 bytes at 0"),
    ],
    ids=["EIO", "None", "text", "nothing"],
)
def test_a_file_object_that_reads_badly(act: Callable[[bytes], object], message: str) -> None:
    with pytest.raises(PemnError, match=f"^{message}$"):
        read(Odd(act))


def test_file_objects_that_cannot_be_read_at_all(path: Path) -> None:
    with path.open() as text, pytest.raises(PemnError, match=r"^the file object is in text mode; open it in binary"):
        read(text)  # type: ignore[arg-type]
    closed = path.open("rb")
    closed.close()
    with pytest.raises(PemnError, match=r"^the file object cannot be read: seek of closed file; pass an open, seekabl"):
        read(closed)
    written = path.with_name("written")
    written.write_bytes(DATA)
    with written.open("ab") as file, pytest.raises(PemnError, match=r"^the file object cannot be read: read$"):
        read(file)
    reading, writing = os.pipe()
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe, pytest.raises(PemnError, match=r"^the file object cannot be read: .*seek"):
        read(pipe)


@pytest.mark.parametrize("origin", [3, None, 1.5, np.zeros(4, np.uint8)], ids=["int", "None", "float", "array"])
def test_what_is_no_file_at_all_is_a_type_error(origin: Any) -> None:
    kind = type(origin).__name__
    with pytest.raises(
        TypeError, match=rf"^a \.pemn file is read from a path, bytes or a binary file object, found {kind}"
    ):
        read(origin)


def test_bytes_that_do_not_lie_together_are_read() -> None:
    assert read(memoryview(b"".join(bytes([each, 0]) for each in DATA))[::2]).seed == 2022


def test_a_path_of_bytes_is_a_path(path: Path) -> None:
    class BytesPath(os.PathLike[bytes]):
        def __fspath__(self) -> bytes:
            return os.fsencode(path)

    assert read(BytesPath()).seed == 2022  # type: ignore[arg-type]


def test_a_disk_that_fails_is_an_ordinary_error(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "pread", lambda *_: fail(b""))
    with pytest.raises(PemnError, match=r"a\.pemn cannot be read: Input/output error$"):
        read(path)


@pytest.mark.parametrize("threads", [0, -1])
def test_threads_are_at_least_one(threads: int) -> None:
    with pytest.raises(PemnError, match=rf"^threads must be at least 1, found {threads}$"):
        read(DATA, threads=threads)
    with pytest.raises(PemnError, match=rf"^threads must be at least 1, found {threads}$"):
        encode(SAMPLES["keep_tile"](), threads=threads)


def test_a_large_file_is_read_from_disk(tmp_path: Path) -> None:
    bits = random_bits(1 << 16, 0.5, 1)
    path = tmp_path / "large.pemn"
    path.write_bytes(encode(one_tensor(1 << 16, bits=bits)))
    assert read(path).masked[0].planes[0].size == 1 << 13
