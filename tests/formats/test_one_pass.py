"""Masked tensors handed on while later ones are decoded, and a file read once whatever is wanted of it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from forge import Forge, Piece
from samples import SAMPLES, masked_tensor, random_bits, same

from pemn_formats import handover
from pemn_formats.bundle import join
from pemn_formats.content import Content, MaskedTensor, Prototype, ResidualSpec, ResidualTensor
from pemn_formats.errors import FormatError
from pemn_formats.limits import CHUNK_BYTES
from pemn_formats.prelude import PRELUDE_BYTES
from pemn_formats.reader import Reader, read_model
from pemn_formats.sections import Placed, Section
from pemn_formats.stored_entries import Entries
from pemn_formats.writer import encode

COUNT = 8 * CHUNK_BYTES + 4096
TENSORS = 6


def large() -> Content:
    """Six tensors of a bit more than a chunk each."""
    tensors = [masked_tensor(f"t{n}", (COUNT,), random_bits(COUNT, 0.01 * n, n)) for n in range(TENSORS)]
    return Content(7, (Prototype(COUNT, "signed"),), tuple(tensors))


CONTENT = large()
DATA = encode(CONTENT)
MODELS = [name for name in SAMPLES if name not in ("bundle", "patch") and "patch" not in name]


class Taken:
    """What a reader handed over."""

    def __init__(self) -> None:
        self.contents: list[Content] = []
        self.groups: list[list[MaskedTensor]] = []

    def __call__(self, content: Content, tensors: Sequence[MaskedTensor]) -> None:
        self.contents.append(content)
        self.groups.append(list(tensors))

    @property
    def tensors(self) -> list[MaskedTensor]:
        return [tensor for group in self.groups for tensor in group]


@pytest.fixture
def _a_tensor_a_group(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handover, "_GROUP_BYTES", 1)


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("name", MODELS)
def test_everything_is_handed_over_once(name: str, threads: int) -> None:
    content, taken = SAMPLES[name](), Taken()
    with Reader.open(encode(content), threads=threads) as reader:
        same(reader.model(ready=taken), content)
    same(replace(content, masked=tuple(taken.tensors)), content)
    for each in taken.contents:
        same(each, replace(content, masked=()))


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.usefixtures("_a_tensor_a_group")
def test_a_group_is_handed_over_before_the_last_chunk_is_decoded(threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[str] = []
    real = Section.decode

    def decode(self: Section, placed: Placed, stored: bytes) -> bytes:
        out = real(self, placed, stored)
        events.append(f"decoded {placed.start // CHUNK_BYTES}")
        return out

    monkeypatch.setattr(Section, "decode", decode)
    with Reader.open(DATA, threads=threads) as reader:
        reader.model(ready=lambda _, tensors: events.extend(tensor.name for tensor in tensors))
        chunks = len(reader._masks.placed)
    assert [event for event in events if event.startswith("t")] == [f"t{n}" for n in range(TENSORS)]
    assert events.index("t0") < events.index(f"decoded {chunks - 1}")
    if threads == 1:  # each as soon as its last chunk is there
        assert events[:6] == ["decoded 0", "decoded 1", "t0", "decoded 2", "t1", "decoded 3"]


@pytest.mark.parametrize("groups", [1, 3, 100])
def test_groups_are_of_some_megabytes(groups: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handover, "_GROUP_BYTES", TENSORS // min(groups, TENSORS) * (COUNT // 8))
    taken = Taken()
    with Reader.open(DATA) as reader:
        reader.model(ready=taken)
    assert len(taken.groups) == min(groups, TENSORS)


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.usefixtures("_a_tensor_a_group")
def test_damage_is_told_as_without_handing_over(threads: int) -> None:
    """The digest speaks first, then the first chunk that is wrong; what was handed over by then is to be dropped."""
    damaged = bytearray(DATA)
    damaged[-1] ^= 1
    forged = Forge.of(DATA)
    forged.sections[1][4].ones += 1
    for data, most in ((bytes(damaged), TENSORS - 1), (forged.build(), 4)):
        with Reader.open(data) as reader, pytest.raises(FormatError) as expected:
            reader.model()
        taken = Taken()
        with Reader.open(data, threads=threads) as reader, pytest.raises(FormatError) as found:
            reader.model(ready=taken)
        assert str(found.value) == str(expected.value)
        assert 0 < len(taken.tensors) <= most


@pytest.mark.parametrize("threads", [1, 3])
def test_of_several_wrong_sections_the_first_of_the_file_is_named(threads: int) -> None:
    """Though handing over reads the residual before the masks."""
    forged = Forge.of(encode(SAMPLES["channel_scale"]()))
    forged.sections[1][0].ones += 1
    forged.sections[2][0] = Piece(1, 0, b"no zstd")
    messages = []
    for ready in (None, Taken()):
        with Reader.open(forged.build(), threads=threads) as reader, pytest.raises(FormatError) as found:
            reader.model(ready=ready)
        messages.append(str(found.value))
        assert ready is None or not ready.groups
    assert messages[0].startswith("a chunk of the masks ")
    assert messages[0] == messages[1]


@pytest.mark.usefixtures("_a_tensor_a_group")
def test_a_mask_that_breaks_a_rule_is_not_handed_over() -> None:
    """A chunk to itself, so that the tensors before it are."""
    count = 8 * CHUNK_BYTES
    masked = [masked_tensor(name, (size,), np.zeros(size, np.uint8)) for name, size in (("a", count), ("w", 9))]
    forged = Forge.of(encode(Content(7, (Prototype(count, "signed"),), tuple(masked))))
    forged.sections[1][1] = Piece(0, 8, b"\x00\xff")
    taken = Taken()
    with Reader.open(forged.build()) as reader, pytest.raises(FormatError, match="the mask of 'w' has a pad bit set"):
        reader.model(ready=taken)
    assert [tensor.name for tensor in taken.tensors] == ["a"]


@pytest.mark.parametrize("threads", [1, 3])
def test_values_that_break_a_rule_are_looked_at_twice_at_most(threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not once for each chunk of the masks: a small file could take hours."""
    scale = ResidualTensor("t0", (8,), "scale", "float32", values=np.ones(8, np.float32))
    masked = (replace(CONTENT.masked[0], shape=(8, COUNT // 8), scale=None), *CONTENT.masked[1:])
    forged = Forge.of(encode(replace(CONTENT, masked=masked, residual=(scale,))))
    forged.sections[2][0] = Piece(1, 0, b"\xff")
    looked: list[str] = []
    real = Entries._as_residual

    def as_residual(self: Entries, spec: ResidualSpec, data: bytes | memoryview) -> ResidualTensor:
        looked.append(spec.name)
        return real(self, spec, data)

    monkeypatch.setattr(Entries, "_as_residual", as_residual)
    taken = Taken()
    with Reader.open(forged.build(), threads=threads) as reader, pytest.raises(FormatError, match="not finite"):
        reader.model(ready=taken)
    assert not taken.groups
    assert looked == ["t0", "t0"]  # before the masks, and after the digest


@pytest.mark.parametrize("threads", [1, 3])
def test_an_error_of_the_taker_ends_the_reading(threads: int) -> None:
    def refuse(content: Content, tensors: Sequence[MaskedTensor]) -> None:
        raise KeyError(tensors[0].name)

    with Reader.open(DATA, threads=threads) as reader, pytest.raises(KeyError, match="t0"):
        reader.model(ready=refuse)


@pytest.mark.parametrize("task", ["a", "b"])
@pytest.mark.parametrize("handing_over", [False, True])
def test_one_model_of_a_bundle_is_one_pass_and_its_own_chunks(
    task: str, handing_over: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = {"a": CONTENT, "b": replace(CONTENT, masked=CONTENT.masked[:2])}
    path = tmp_path / "bundle.pemn"
    path.write_bytes(encode(join(models)))
    seen = np.zeros(path.stat().st_size, dtype=np.int64)
    decoded: list[int] = []
    with Reader.open(path) as reader:
        real, unpacked = os.pread, Section.decode

        def counted(descriptor: int, length: int, offset: int) -> bytes:
            seen[offset : offset + length] += 1
            return real(descriptor, length, offset)

        def decode(self: Section, placed: Placed, stored: bytes) -> bytes:
            decoded.append(placed.start // CHUNK_BYTES)
            return unpacked(self, placed, stored)

        monkeypatch.setattr(os, "pread", counted)
        monkeypatch.setattr(Section, "decode", decode)
        taken = Taken()
        same(reader.model(task, ready=taken if handing_over else None), models[task])
        header = reader.prelude.header_bytes
    assert header >= PRELUDE_BYTES
    assert (seen[header:] == 1).all()
    border = TENSORS * COUNT // 8 // CHUNK_BYTES  # this chunk holds the end of "a" and the beginning of "b"
    last = 8 * COUNT // 8 // CHUNK_BYTES
    assert decoded == (list(range(border + 1)) if task == "a" else list(range(border, last + 1)))
    assert [tensor.name for tensor in taken.tensors] == [t.name for t in models[task].masked if handing_over]


def test_a_task_is_read_with_progress_and_threads() -> None:
    told: list[tuple[int, int]] = []
    data = encode(join({"a": CONTENT}))
    same(read_model(data, task="a", threads=2, progress=lambda done, total: told.append((done, total))), CONTENT)
    assert len(told) > 1
    assert told[-1][0] == told[-1][1]
