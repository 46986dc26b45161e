from __future__ import annotations

import io
import os
import random
import threading
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pytest
from forge import Forge, Piece
from samples import SAMPLES, masked_tensor, one_tensor, random_bits, same

from pemn_formats.content import Content, Prototype
from pemn_formats.errors import FormatError
from pemn_formats.limits import CHUNK_BYTES
from pemn_formats.reader import Reader, read
from pemn_formats.writer import encode

COUNT = 8 * CHUNK_BYTES + 4096


def several_chunks() -> Content:
    """Three tensors of a bit more than a chunk each, at densities that different codecs win."""
    densities = (0.5, 0.02, 0.0)
    tensors = [
        masked_tensor(f"t{index}", (COUNT,), random_bits(COUNT, density, index))
        for index, density in enumerate(densities)
    ]
    return Content(7, (Prototype(COUNT, "signed"),), tuple(tensors))


CONTENT = several_chunks()
DATA = encode(CONTENT)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "a.pemn"
    path.write_bytes(DATA)
    return path


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("mmap", [False, True])
def test_threads_and_mapping_give_the_same_content(path: Path, threads: int, mmap: bool) -> None:
    same(read(path, threads=threads, mmap=mmap), CONTENT)


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("open_file", [lambda path: path.open("rb"), lambda path: io.BytesIO(path.read_bytes())])
def test_file_objects_are_read_by_one_thread_at_a_time(
    path: Path, threads: int, open_file: Callable[[Path], BinaryIO]
) -> None:
    with open_file(path) as file:
        same(read(file, threads=threads), CONTENT)


@pytest.mark.parametrize("damaged", [0, 1, 8])
def test_a_damaged_chunk_with_many_after_it_is_refused_by_several_threads(damaged: int) -> None:
    forge = Forge.of(encode(one_tensor(24)))
    forge.manifest["masked"]["shapes"] = [[9, 8 * CHUNK_BYTES]]
    forge.sections[1] = [Piece(1, 0, b"\0") for _ in range(9)]
    forge.sections[1][damaged].crc = 1
    ended: list[str] = []

    def attempt() -> None:
        with pytest.raises(FormatError, match="is damaged: its CRC-32 differs"):
            read(forge.build(), threads=2)
        ended.append("refused")

    thread = threading.Thread(target=attempt, daemon=True)  # a reader that waits for ever must not stop the tests
    thread.start()
    thread.join(60)
    assert ended == ["refused"]


@pytest.mark.parametrize("name", SAMPLES)
def test_every_kind_of_content(name: str) -> None:
    content = SAMPLES[name]()
    same(read(encode(content), threads=3), read(encode(content)))


def test_every_stored_byte_is_read_once(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Reader.open(path) as reader:
        seen = np.zeros(len(DATA), dtype=np.int64)
        real = os.pread

        def counted(descriptor: int, length: int, offset: int) -> bytes:
            seen[offset : offset + length] += 1
            return real(descriptor, length, offset)

        monkeypatch.setattr(os, "pread", counted)
        reader.content()
        header = reader.prelude.header_bytes
    assert not seen[:header].any()
    assert (seen[header:] == 1).all()


@pytest.mark.parametrize("call", [Reader.content, Reader.verify_payload])
def test_progress_goes_up_to_the_whole_payload(path: Path, call: Callable[[Reader], object]) -> None:
    told: list[tuple[int, int]] = []
    with Reader.open(path, threads=2, progress=lambda done, total: told.append((done, total))) as reader:
        call(reader)
        payload = len(DATA) - reader.prelude.header_bytes
    assert len(told) > 1
    assert {total for _, total in told} == {payload}
    assert [done for done, _ in told] == sorted({done for done, _ in told})
    assert told[-1][0] == payload


def test_a_progress_that_raises_stops_the_reading(path: Path) -> None:
    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    for threads in (1, 2):
        with Reader.open(path, threads=threads, progress=stop) as reader, pytest.raises(KeyboardInterrupt):
            reader.content()


@pytest.mark.parametrize("threads", [1, 4])
def test_damage_has_the_same_message_on_any_number_of_threads(threads: int) -> None:
    with Reader.open(DATA) as reader:
        header = reader.prelude.header_bytes
    for seed in range(20):
        damaged = bytearray(DATA)
        damaged[random.Random(seed).randrange(header, len(DATA))] ^= 0x40
        with pytest.raises(FormatError, match=r"^a chunk of the masks \(.*\) is damaged: its CRC-32 differs$"):
            read(bytes(damaged), threads=threads)


@pytest.mark.parametrize("threads", [1, 4])
def test_the_first_of_several_wrong_chunks_is_named(threads: int) -> None:
    forge = Forge.of(DATA)
    for piece in forge.sections[1][1:]:
        piece.ones += 1 if piece.ones < 8 * CHUNK_BYTES else -1
    with pytest.raises(FormatError, match=r"^a chunk of the masks \('?t0'? to '?t1'?\) has \d+ ones, expected \d+$"):
        read(forge.build(), threads=threads)
