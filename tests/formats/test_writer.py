from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from forge import Forge
from hypothesis import given
from samples import SAMPLES, any_contents, contents, dense, masked_tensor, one_tensor, random_bits, same

from pemn_formats import writer
from pemn_formats.codecs import MASK_CODECS, encode_smallest
from pemn_formats.content import Content, Prototype
from pemn_formats.delta import make_delta
from pemn_formats.errors import PemnError
from pemn_formats.lattice import Flat
from pemn_formats.reader import Reader, read
from pemn_formats.writer import content_id, encode, write


@given(any_contents())
def test_what_is_written_is_read_again(content: Content) -> None:
    data = encode(content)
    again = read(data)
    same(again, content)
    assert encode(again) == data
    assert content_id(again) == content_id(content)


@given(contents())
def test_the_identity_does_not_depend_on_codecs_and_notes(content: Content) -> None:
    expected = content_id(content)
    assert content_id(replace(content, extra={"x": [1]})) == expected
    forge = Forge.of(encode(content))
    with Reader.open(forge.build()) as reader:
        streams = [bytes(section.range(0, section.raw_bytes)) for section in reader._sections]
        assert reader.content_id() == expected
    for stream, pieces in zip(streams, forge.sections, strict=True):
        for piece in pieces:
            piece.codec, piece.data = 0, stream
    forge.manifest["x"] = {"other": True}
    with Reader.open(forge.build()) as reader:
        assert reader.content_id() == expected


def other_seed(content: Content) -> Content:
    return replace(content, seed=content.seed + 1)


def other_bit(content: Content) -> Content:
    first = content.masked[0]
    return replace(content, masked=(replace(first, planes=(first.planes[0] ^ 1,)), *content.masked[1:]))


def other_name(content: Content) -> Content:
    return replace(content, masked=(replace(content.masked[0], name="other"), *content.masked[1:]))


def other_scale(content: Content) -> Content:
    return replace(content, masked=(replace(content.masked[0], scale=np.float32(0.0625001)), *content.masked[1:]))


def other_value(content: Content) -> Content:
    last = content.residual[-1]
    return replace(content, residual=(*content.residual[:-1], replace(last, values=-last.values)))


def other_order(content: Content) -> Content:
    return replace(content, masked=content.masked[::-1])


def other_alias(content: Content) -> Content:
    return replace(content, aliases={})


def other_input(content: Content) -> Content:
    return replace(content, input=None)


def other_architecture(content: Content) -> Content:
    return replace(content, architecture={"name": "mlp", "args": {"width": 4, "bias": True, "act": "gelu"}})


@pytest.mark.parametrize(
    "change",
    [
        other_seed,
        other_bit,
        other_name,
        other_scale,
        other_value,
        other_order,
        other_alias,
        other_input,
        other_architecture,
    ],
)
def test_the_identity_depends_on_everything_else(change: Callable[[Content], Content]) -> None:
    content = SAMPLES["keep_tile"]()
    assert content_id(change(content)) != content_id(content)


# They never change: deltas and caches name contents by them.
GOLDEN_IDS = {
    "keep_tile": "39551564569fa06a0a38419e32c1de3d4121c8d232317294f0b09ec80ffcff81",
    "ternary_normal": "dd734087c56fd162dfeaf049bab8a9b169dcd4090e65ea5b240b69ff065b7e44",
    "explicit_prototypes": "722cee43f843fd853903f1be2b722c3488baaa9511a59e9127303825317ad0e1",
    "channel_scale": "f952d022d445a6d01a49e6713e134da32c2734a14bdbf42ecf140f109d4b19dc",
    "sparse_mask": "822034ae241c50bc326eb9b8b0eced1139229d1ea3e20422ecad6f678cad7021",
}


@pytest.mark.parametrize("name", GOLDEN_IDS)
def test_golden_identities(name: str) -> None:
    assert content_id(SAMPLES[name]()) == GOLDEN_IDS[name]


def test_two_processes_write_the_same_bytes() -> None:
    script = (
        f"import sys, hashlib; sys.path[:0] = {sys.path!r}\n"
        "from samples import SAMPLES\nfrom pemn_formats.writer import encode\n"
        "print(hashlib.sha256(b''.join(encode(build()) for build in SAMPLES.values())).hexdigest())"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", script], check=True, capture_output=True, env={"PYTHONHASHSEED": seed}
        ).stdout
        for seed in ("0", "1")
    }
    assert len(found) == 1


@pytest.mark.parametrize("density", [0.0, 0.01, 0.5, 0.99, 1.0])
def test_the_smallest_codec_is_chosen(density: float) -> None:
    content = one_tensor(1 << 16, bits=random_bits(1 << 16, density, 2))
    raw = content.masked[0].planes[0].tobytes()
    best, stored = encode_smallest(raw, MASK_CODECS, (Flat(0, 1 << 16, alone=True),))
    (piece,) = Forge.of(encode(content)).sections[1]
    assert (piece.codec, piece.data) == (best.id, stored)


def test_many_small_chunks_are_written_and_read(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("limits", "writer", "reader", "sections", "prelude"):
        monkeypatch.setattr(f"pemn_formats.{module}.CHUNK_BYTES", 7)
    for name, build in SAMPLES.items():
        data = encode(build())
        same(read(data), build())
        same(read(data, threads=3), build())
        with Reader.open(data) as reader:
            assert reader.content_id() == content_id(build())
            for tensor in build().masked:
                assert reader.masked(tensor.name).planes[0].tobytes() == tensor.planes[0].tobytes(), name
            for entry in build().residual:
                found = reader.residual(entry.name, entry.kind)
                assert found.values.tobytes() == entry.values.tobytes(), name


def test_threads_change_no_byte(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for module in ("limits", "writer", "sections", "prelude"):
        monkeypatch.setattr(f"pemn_formats.{module}.CHUNK_BYTES", 7)
    for name, build in SAMPLES.items():
        content = build()
        expected = encode(content)
        assert encode(content, threads=3) == expected, name
        if content.delta is None:
            write(tmp_path / name, content, threads=3)
            assert (tmp_path / name).read_bytes() == expected


def test_an_error_on_a_thread_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def fail(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(writer, "encode_smallest", fail)
    with pytest.raises(MemoryError):
        write(tmp_path / "a.pemn", one_tensor(), threads=2)
    assert not list(tmp_path.iterdir())


def test_a_patch_is_no_model_to_write(tmp_path: Path) -> None:
    patch = make_delta(one_tensor(), one_tensor())
    with pytest.raises(PemnError, match="is a delta of content"):
        write(tmp_path / "a.pemn", patch)
    assert not list(tmp_path.iterdir())


def test_a_file_is_written_once_and_its_ledger_returned(tmp_path: Path) -> None:
    path = tmp_path / "a.pemn"
    content = SAMPLES["keep_tile"]()
    ledger = write(path, content)
    assert path.read_bytes() == encode(content)
    assert ledger.file_bytes == path.stat().st_size
    with pytest.raises(PemnError, match=r"exists; use --force \(or force=True\) to replace it$"):
        write(path, one_tensor())
    same(read(path), content)
    write(path, one_tensor(), force=True)
    same(read(path), one_tensor())


KEEP = SAMPLES["keep_tile"]()
FIRST, SECOND, LAST = *KEEP.masked, KEEP.residual[-1]
EXPLICIT, CHANNEL = SAMPLES["explicit_prototypes"](), SAMPLES["channel_scale"]()


def with_planes(*planes: np.ndarray) -> Content:
    return replace(KEEP, masked=(replace(FIRST, planes=planes), SECOND))


def with_last(values: np.ndarray) -> Content:
    return replace(KEEP, residual=(*KEEP.residual[:-1], replace(LAST, values=values)))


def with_prototype(values: np.ndarray | None) -> Content:
    return replace(EXPLICIT, prototypes=(Prototype(7, "float32", values), *EXPLICIT.prototypes[1:]))


UNSOUND = "the model cannot be written: "
PLANE = r"stem\.weight has a bit plane that is not 24 packed bits with zero padding$"
REFUSED = [
    (replace(KEEP, seed=-1), f"{UNSOUND}the seed is -1"),
    (replace(KEEP, masked=(FIRST, FIRST), aliases={}), rf"{UNSOUND}the tensor 'stem\.weight' is stored twice"),
    (replace(KEEP, extra={"a": 0.5}), rf"{UNSOUND}the manifest holds the number 0\.5"),
    (replace(KEEP, extra={"a": float("nan")}), f"{UNSOUND}Out of range float"),
    (replace(KEEP, extra={"a": b"bytes"}), f"{UNSOUND}Object of type bytes is not JSON"),
    (replace(KEEP, input={"mean": 0.25}), rf"{UNSOUND}the manifest holds the number 0\.25"),
    (replace(KEEP, aliases={"a": "b"}), f"{UNSOUND}the alias 'a' names 'b'"),
    (with_planes(), r"stem\.weight has 0 bit planes, expected 1$"),
    (with_planes(*FIRST.planes, *FIRST.planes), r"stem\.weight has 2 bit planes, expected 1$"),
    (with_planes(FIRST.planes[0][:2]), PLANE),
    (with_planes(FIRST.planes[0].view(np.int8)), PLANE),
    (
        replace(KEEP, masked=(FIRST, replace(SECOND, planes=(SECOND.planes[0] | 128,)))),
        r"head\.weight has a bit plane that is not 15 packed bits with zero padding$",
    ),
    (with_last(LAST.values[:3]), r"head\.bias must hold 5 values of float16, found 3 of float16$"),
    (with_last(LAST.values.astype("<f4")), r"head\.bias must hold 5 values of float16, found 5 of float32$"),
    (with_last(LAST.values.astype(">f2")), r"head\.bias must hold 5 values of float16, found 5 of >f2$"),
    (with_prototype(None), "prototype 0 must hold 7 values of float32, found none$"),
    (with_prototype(np.ones(6, "<f4")), "prototype 0 must hold 7 values of float32, found 6 of float32$"),
    (with_prototype(np.full(7, np.inf, "<f4")), "prototype 0 holds values that are not finite$"),
    (
        replace(
            CHANNEL, residual=(replace(CHANNEL.residual[0], values=np.full(3, np.nan, "<f4")), *CHANNEL.residual[1:])
        ),
        "the scale of 'f32' holds values that are not finite$",
    ),
    (
        replace(
            CHANNEL, residual=(*CHANNEL.residual[:2], replace(CHANNEL.residual[2], values=np.full(3, 0xFF80, "<u2")))
        ),
        "the scale of 'bf16' holds values that are not finite$",
    ),
]


@pytest.mark.parametrize(("content", "message"), REFUSED, ids=range(len(REFUSED)))
def test_what_the_reader_would_refuse_is_not_written(content: Content, message: str, tmp_path: Path) -> None:
    for attempt in (encode, lambda each: write(tmp_path / "a.pemn", each)):
        with pytest.raises(PemnError, match=rf"^{message}") as caught:
            attempt(content)
        assert type(caught.value) is PemnError
        assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_a_ternary_tensor_must_keep_what_it_says() -> None:
    tensor = masked_tensor("w", (8,), np.array([1, 1, 0, 0, 0, 0, 0, 0]), alphabet="ternary")
    wrong = replace(tensor, planes=(np.array([1], np.uint8), tensor.planes[1]))
    with pytest.raises(PemnError, match=r"^w keeps 1 weights, but says 2$"):
        encode(Content(0, (Prototype(8, "signed"),), (wrong,)))


def test_nothing_at_all_can_be_written() -> None:
    same(read(encode(Content(0, (), ()))), Content(0, (), ()))


def test_arrays_in_any_memory_order_are_written_in_c_order() -> None:
    values = np.arange(6, dtype="<f4").reshape(2, 3)
    for each in (values, np.asfortranarray(values), values[::-1][::-1]):
        content = replace(KEEP, masked=(), prototypes=(), aliases={}, residual=(dense("r", values),))
        content = replace(content, residual=(replace(content.residual[0], values=each),))
        assert read(encode(content)).residual[0].values.tolist() == values.tolist()


def test_the_public_names_are_there() -> None:
    assert set(writer.__all__) >= {"content_id", "encode", "write"}
