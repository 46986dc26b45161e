from __future__ import annotations

import io
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from forge import Forge
from hypothesis import given
from samples import SAMPLES, any_contents, contents, one_tensor, same

from pemn_formats.content import Content
from pemn_formats.errors import FormatError, PemnError
from pemn_formats.limits import DEFAULT_MEMORY_BUDGET, MAX_TENSOR_VALUES
from pemn_formats.reader import Reader, read
from pemn_formats.writer import content_id, encode

FILES = {name: encode(build()) for name, build in SAMPLES.items()}
every_file = pytest.mark.parametrize("name", FILES)


@every_file
def test_a_path_bytes_and_file_objects_give_the_same(name: str, tmp_path: Path) -> None:
    data, expected = FILES[name], SAMPLES[name]()
    path = tmp_path / "a.pemn"
    path.write_bytes(data)
    for origin in (path, str(path), data, bytearray(data), memoryview(data), io.BytesIO(data)):
        same(read(origin), expected)
    with path.open("rb") as buffered, path.open("rb", buffering=0) as raw:
        same(read(buffered), expected)
        same(read(raw), expected)  # type: ignore[arg-type]
        assert not buffered.closed


@given(any_contents())
def test_single_entries_are_those_of_the_whole(content: Content) -> None:
    data = encode(content)
    whole = read(data)
    same(whole, content)
    with Reader.open(data) as reader:
        for tensor in whole.masked:
            found = reader.masked(tensor.name)
            assert [each.tobytes() for each in found.planes] == [each.tobytes() for each in tensor.planes]
            assert (found.shape, found.alphabet, found.kept) == (tensor.shape, tensor.alphabet, tensor.kept)
        for entry in whole.residual:
            one = reader.residual(entry.name, entry.kind)
            assert (one.values.dtype, one.values.shape) == (entry.values.dtype, entry.values.shape)
            assert one.values.tobytes() == entry.values.tobytes()
        assert len(reader.prototypes()) == len(whole.prototypes)
        assert reader.content_id() == content_id(content)


@given(contents())
def test_a_task_of_a_bundle_is_the_model_that_went_in(content: Content) -> None:
    from pemn_formats.bundle import join

    if not content.masked and not content.residual:
        return
    with Reader.open(encode(join({"a": content, "b": content}))) as reader:
        same(reader.model("b"), content)
    with Reader.open(encode(content)) as reader:
        same(reader.model(), content)


def test_unknown_entries_are_named() -> None:
    with Reader.open(FILES["keep_tile"]) as reader:
        with pytest.raises(PemnError, match=r"^the file holds no masked tensor 'head\.bias'$"):
            reader.masked("head.bias")
        with pytest.raises(PemnError, match=r"^the file holds no residual entry 'a\\nb' of kind dense$"):
            reader.residual("a\nb")
        with pytest.raises(PemnError, match=r"^the file holds no residual entry 'head\.bias' of kind scale$"):
            reader.residual("head.bias", "scale")


@every_file
def test_the_values_that_are_read_cannot_be_changed(name: str) -> None:
    content = read(FILES[name])
    for array in [each.values for each in content.residual] + [
        plane for each in content.masked for plane in each.planes
    ]:
        assert not array.flags.writeable


def test_a_closed_reader_says_so(tmp_path: Path) -> None:
    path = tmp_path / "a.pemn"
    path.write_bytes(FILES["keep_tile"])
    reader = Reader.open(path)
    reader.close()
    reader.close()
    with pytest.raises(PemnError, match=r"is closed$"):
        reader.masked("stem.weight")


@pytest.mark.parametrize("origin", ["path", "bytes"])
def test_a_file_that_is_refused_is_not_left_open(origin: str, tmp_path: Path) -> None:
    import os

    path = tmp_path / "a.pemn"
    path.write_bytes(FILES["keep_tile"][:-1])
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        with pytest.raises(FormatError, match="truncated"):
            read(path if origin == "path" else path.read_bytes())
    assert len(os.listdir("/proc/self/fd")) == before


@every_file
def test_the_memory_budget_is_exact(name: str) -> None:
    with Reader.open(FILES[name]) as reader:
        manifest = reader.manifest
    needed = manifest.prototype_bytes + manifest.mask_bytes + manifest.residual_bytes
    read(FILES[name], memory_budget=needed)
    with pytest.raises(
        FormatError,
        match=rf"^the file decodes to {needed} bytes, over the memory budget of {needed - 1}; raise it ",
    ):
        read(FILES[name], memory_budget=needed - 1)


@pytest.mark.parametrize(
    ("shape", "needed"),
    [([MAX_TENSOR_VALUES], MAX_TENSOR_VALUES // 8), ([1 << 36], 1 << 33), ([3, 1 << 36], 3 << 33)],
)
def test_a_huge_tensor_is_refused_before_anything_is_allocated(shape: list[int], needed: int) -> None:
    forge = Forge.of(encode(one_tensor(24)))
    forge.manifest["masked"]["shapes"] = [shape]
    tracemalloc.start()
    try:
        message = f"^the file decodes to {needed} bytes, over the memory budget of {DEFAULT_MEMORY_BUDGET}; raise "
        with pytest.raises(FormatError, match=message):
            read(forge.build())
        assert tracemalloc.get_traced_memory()[1] < 1 << 18
    finally:
        tracemalloc.stop()


def test_a_manifest_may_be_compressed_and_its_size_is_checked_first() -> None:
    import zstandard

    forge = Forge.of(FILES["keep_tile"])
    raw = Forge.of(FILES["keep_tile"]).build()
    forge.raw_manifest = raw[128 : 128 + int.from_bytes(raw[16:20], "little")]
    forge.stored_manifest = zstandard.ZstdCompressor().compress(forge.raw_manifest)
    same(read(forge.build()), SAMPLES["keep_tile"]())
    forge.stored_manifest = zstandard.ZstdCompressor().compress(bytes(64 << 20))
    tracemalloc.start()
    try:
        with pytest.raises(FormatError, match=r"^the manifest: a zstd frame declares 67108864 bytes, expected \d+$"):
            read(forge.build() if len(forge.stored_manifest) < len(forge.raw_manifest) else _longer(forge))
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def _longer(forge: Forge) -> bytes:
    """A manifest has to be longer than its compressed form."""
    forge.raw_manifest = b" " * (len(forge.stored_manifest or b"") + 1)
    return forge.build()


def test_reading_takes_little_more_than_what_is_read() -> None:
    from samples import dense

    data = encode(Content(0, (), (), (dense("big", np.zeros(8 << 20, np.float32)),)))
    tracemalloc.start()
    try:
        read(data)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < (32 << 20) + (4 << 20)
