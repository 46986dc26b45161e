"""Where a reader takes its bytes from: a regular file, a file object, or bytes in memory."""

from __future__ import annotations

import contextlib
import io
import mmap as memory_map
import os
import stat
import threading
from types import TracebackType
from typing import Any, BinaryIO

from pemn_formats.errors import FormatError, PemnError

__all__ = ["Readable", "Source"]

Readable = str | os.PathLike[str] | bytes | bytearray | memoryview | BinaryIO


class Source:
    """Random access to a fixed number of bytes; every short read is an error.

    One source serves several threads. Files are read with `pread`, or with `mmap` through a mapping: the system then
    kills the process if the file is cut short in the very moment of a read, so `mmap` is for files that stay as they
    are. A file object may give less than it was asked for, as unbuffered ones do, and is then asked again.

    Raises `PemnError` for what cannot be opened or read, `FormatError` for what is no regular file or becomes shorter
    while it is read, `TypeError` for what is none of the three.
    """

    def __init__(self, origin: Readable, *, mmap: bool = False) -> None:
        self.name = "the file"
        self._descriptor: int | None = None
        self._memory: memoryview | None = None
        self._file: BinaryIO | None = None
        self._mapping: memory_map.mmap | None = None
        self._seeking = threading.Lock()
        if isinstance(origin, (bytes, bytearray, memoryview)):
            view = memoryview(origin)
            self._memory = view.cast("B") if view.c_contiguous else memoryview(view.tobytes())
            self.size = self._memory.nbytes
        elif isinstance(origin, (str, os.PathLike)):
            self.name = os.fsdecode(origin)
            self._descriptor, self.size, self._stamp = _open(self.name)
            if mmap and self.size:
                self._mapping = self._mapped(self._descriptor)
        else:
            self._file, self.size = origin, _size(origin)

    def read(self, offset: int, length: int) -> bytes:
        """Return `length` bytes from `offset`."""
        if self._memory is not None:
            data = bytes(self._memory[offset : offset + length])
        elif self._descriptor is not None and self._mapping is not None:
            # Pages that the file no longer has must not be touched.
            end = min(offset + length, os.fstat(self._descriptor).st_size)
            data = self._mapping[offset:end]
        elif self._descriptor is not None:
            data = self._pread(self._descriptor, offset, length)
        elif self._file is not None:
            with self._seeking:
                data = _read_on(self._file, offset, length)
        else:
            raise PemnError(f"{self.name} is closed")
        if len(data) != length:
            raise FormatError(f"the file became shorter while it was read: {len(data)} of {length} bytes at {offset}")
        return data

    def check_unchanged(self) -> None:
        """Raise `FormatError` if the file was written to since it was opened: the likely reason for a wrong digest."""
        if self._descriptor is not None and _stamp(os.fstat(self._descriptor)) != self._stamp:
            raise FormatError("the file changed while it was read")

    def close(self) -> None:
        """Release the file; a file object that the caller gave stays open."""
        if self._mapping is not None:
            self._mapping.close()
        if self._descriptor is not None:
            os.close(self._descriptor)
        self._descriptor = self._memory = self._file = self._mapping = None

    def __enter__(self) -> Source:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _mapped(self, descriptor: int) -> memory_map.mmap:
        try:
            return memory_map.mmap(descriptor, self.size, access=memory_map.ACCESS_READ)
        except OSError as error:
            self.close()
            raise PemnError(f"{self.name} cannot be mapped: {error.strerror}; read it without mmap") from None

    def _pread(self, descriptor: int, offset: int, length: int) -> bytes:
        parts = []
        while length:
            try:
                part = os.pread(descriptor, min(length, 1 << 30), offset)
            except OSError as error:
                raise PemnError(f"{self.name} cannot be read: {error.strerror or error}") from None
            if not part:
                break
            parts.append(part)
            offset += len(part)
            length -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)


def _size(file: Any) -> int:
    """The bytes of a file object, if it is one."""
    if not hasattr(file, "read") or not hasattr(file, "seek"):
        raise TypeError(f"a .pemn file is read from a path, bytes or a binary file object, found {type(file).__name__}")
    if isinstance(file, io.TextIOBase):
        raise PemnError("the file object is in text mode; open it in binary mode ('rb')")
    try:
        file.seek(0, os.SEEK_END)
        return int(file.tell())
    except (OSError, ValueError) as error:
        raise PemnError(f"the file object cannot be read: {_reason(error)}; pass an open, seekable one") from None


def _read_on(file: BinaryIO, offset: int, length: int) -> bytes:
    """Read until there is enough, or no more."""
    parts = []
    try:
        file.seek(offset)
        while length > 0:
            part: object = file.read(length)
            if not isinstance(part, (bytes, bytearray, memoryview)):
                raise PemnError(
                    f"the file object gave {type(part).__name__} instead of bytes; pass a blocking one in binary mode"
                )
            if not part:
                break
            parts.append(bytes(part))
            length -= len(part)
    except (OSError, ValueError) as error:
        raise PemnError(f"the file object cannot be read: {_reason(error)}") from None
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _reason(error: OSError | ValueError) -> str:
    return str(getattr(error, "strerror", None) or error).rstrip(".")


def _open(path: str) -> tuple[int, int, tuple[int, int]]:
    try:
        # Without O_NONBLOCK a FIFO would wait for a writer before it could be refused.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (OSError, ValueError) as error:
        with contextlib.suppress(OSError, ValueError):  # sockets, and devices that are not there, cannot be opened
            _check_regular(path, os.stat(path))
        raise PemnError(f"{path} cannot be opened: {getattr(error, 'strerror', None) or error}") from None
    try:
        status = os.fstat(descriptor)
        _check_regular(path, status)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor, status.st_size, _stamp(status)


def _check_regular(path: str, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        kind = "a folder" if stat.S_ISDIR(status.st_mode) else "not a regular file"
        raise FormatError(f"{path} is {kind}; name a .pemn file")


def _stamp(status: os.stat_result) -> tuple[int, int]:
    return status.st_size, status.st_mtime_ns
