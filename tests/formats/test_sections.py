"""Chunk tables and streams that contradict each other or themselves, in files whose digests are all right."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from forge import Forge, Piece
from make_golden import with_codec
from samples import SAMPLES, dense, masked_tensor, one_tensor, random_bits, same
from two_readers import read

from pemn_formats.bits import popcount
from pemn_formats.codecs import CODECS, VALUE_CODECS, Codec
from pemn_formats.content import Content, Prototype
from pemn_formats.delta import apply_delta, make_delta
from pemn_formats.errors import FormatError
from pemn_formats.limits import CHUNK_BYTES
from pemn_formats.manifest import manifest_of
from pemn_formats.mask_lattice import mask_lattice
from pemn_formats.reader import Reader
from pemn_formats.writer import encode

FILES = {name: encode(build()) for name, build in SAMPLES.items()}
KEEP, TERNARY, EVERY, EXPLICIT, CHANNEL = (
    "keep_tile",
    "ternary_normal",
    "every_dtype",
    "explicit_prototypes",
    "channel_scale",
)
Change = Callable[[Forge], None]


def row(section: int, **lies: int) -> Change:
    def change(forge: Forge) -> None:
        for key, value in lies.items():
            setattr(forge.sections[section][0], key, value)

    return change


def stored(section: int, data: bytes, codec: int = 0, ones: int = 0) -> Change:
    def change(forge: Forge) -> None:
        forge.sections[section] = [Piece(codec, ones, data)]

    return change


def patched(section: int, at: int, data: bytes) -> Change:
    """Overwrite bytes of a stream that is stored raw."""

    def change(forge: Forge) -> None:
        (piece,) = forge.sections[section]
        assert piece.codec == 0
        piece.data = piece.data[:at] + data + piece.data[at + len(data) :]
        piece.ones = popcount(piece.data) if section == 1 else 0

    return change


def one_more(section: int) -> Change:
    return lambda forge: forge.sections[section].append(Piece(0, 0, b"\0"))


def one_less(section: int) -> Change:
    return lambda forge: forge.sections[section].clear()


RESIDUAL = r"the residual \('stem\.1' to 'head\.bias'\)"
MASKS = r"the masks \('stem\.weight' to 'head\.weight'\)"
CASES: list[tuple[str, Change, str]] = [
    (KEEP, one_more(0), "the file has 3 chunks, its tensors need 2$"),
    (KEEP, one_less(1), "the file has 1 chunks, its tensors need 2$"),
    (KEEP, row(1, codec=255), "a chunk of the masks has the unknown codec 255; upgrade pemn-compress$"),
    (KEEP, row(1, codec=len(CODECS)), f"a chunk of the masks has the unknown codec {len(CODECS)}; upgrade"),
    (KEEP, row(2, codec=3), "a chunk of the residual has the unknown codec 3; upgrade pemn-compress$"),
    (KEEP, row(1, stored=0), "a chunk of the masks stores 5 bytes in 0$"),
    (KEEP, row(1, stored=6), "a chunk of the masks stores 5 bytes in 6$"),
    (KEEP, row(2, stored=23), "a chunk of the residual stores 22 bytes in 23$"),
    (KEEP, stored(1, b"\0" * 6), "a chunk of the masks stores 5 bytes in 6$"),
    (KEEP, stored(1, b""), "a chunk of the masks stores 5 bytes in 0$"),
    (KEEP, row(1, ones=41), "a chunk of the masks claims 41 ones among 40 bits$"),
    (KEEP, row(2, ones=1), "a chunk of the residual claims 1 ones among 176 bits$"),
    (KEEP, row(1, stored=4), "the chunks of the masks take 4 bytes, the section 5$"),
    (KEEP, row(1, crc=0), f"a chunk of {MASKS} is damaged: its CRC-32 differs$"),
    (KEEP, row(2, crc=0), f"a chunk of {RESIDUAL} is damaged: its CRC-32 differs$"),
    (KEEP, row(1, ones=0), rf"a chunk of {MASKS} has \d+ ones, expected 0$"),
    (KEEP, stored(1, b"\0", 0), f"a chunk of {MASKS}: a raw chunk holds 1 bytes, expected 5$"),
    (KEEP, stored(1, b"\0\0", 1), f"a chunk of {MASKS}: a const chunk holds 2 bytes, expected 1$"),
    (KEEP, stored(1, b"junk", 2), f"a chunk of {MASKS}: a zstd frame does not decode: "),
    (KEEP, stored(1, b"junk", 3), f"a chunk of {MASKS}: a zstd frame does not decode: "),
    (
        KEEP,
        stored(1, bytes.fromhex("ff20000100"), 3),
        f"a chunk of {MASKS}: a gap chunk claims 0 runs for 40 bits$",
    ),
    (KEEP, stored(2, b"junk", 2), f"a chunk of {RESIDUAL}: a zstd frame does not decode: "),
    (KEEP, stored(1, b"\xff", 1, 40), r"the mask of 'head\.weight' has a pad bit set$"),
    (TERNARY, stored(1, b"\0", 1), r"the mask of 'some' keeps 0 weights, expected \d+$"),
    (TERNARY, patched(1, 12, b"\xff"), "the mask of 'some' has a pad bit set$"),
    (TERNARY, patched(1, 0, b"\0"), r"the mask of 'some' keeps \d+ weights, expected \d+$"),
    (EVERY, stored(2, b"\2", 1), "'bool.0' holds booleans that are neither 0 nor 1$"),
    (EXPLICIT, patched(0, 0, b"\0\0\xc0\x7f"), "prototype 0 holds values that are not finite$"),
    (EXPLICIT, patched(0, 0, b"\0\0\x80\xff"), "prototype 0 holds values that are not finite$"),
    (EXPLICIT, patched(0, 28, b"\0\x7c"), "prototype 1 holds values that are not finite$"),
    (CHANNEL, patched(2, 0, b"\0\0\xc0\x7f"), "the scale of 'f32' holds values that are not finite$"),
    (CHANNEL, patched(2, 12, b"\0\xfc"), "the scale of 'f16' holds values that are not finite$"),
    (CHANNEL, patched(2, 18, b"\x80\x7f"), "the scale of 'bf16' holds values that are not finite$"),
    (KEEP, lambda f: f.fields.update(payload_sha256=b"0" * 32), "the payload is damaged: its SHA-256 differs$"),
]


@pytest.mark.parametrize(("name", "change", "message"), CASES, ids=range(len(CASES)))
def test_each_hostile_stream_has_its_message(name: str, change: Change, message: str) -> None:
    forge = Forge.of(FILES[name])
    change(forge)
    with pytest.raises(FormatError, match=rf"^{message}") as caught:
        read(forge.build())
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(("name", "change", "message"), CASES[:-1], ids=range(len(CASES) - 1))
def test_what_is_refused_has_no_identity(name: str, change: Change, message: str) -> None:
    forge = Forge.of(FILES[name])
    change(forge)
    with pytest.raises(FormatError, match=rf"^{message}"), Reader.open(forge.build()) as reader:
        reader.content_id()


@pytest.mark.parametrize(
    "codec", [codec for codec in CODECS if codec not in VALUE_CODECS], ids=lambda codec: codec.name
)
@pytest.mark.parametrize("section", [0, 2])
def test_codecs_of_masks_are_unknown_elsewhere(codec: Codec, section: int) -> None:
    forge = Forge.of(FILES["explicit_prototypes" if section == 0 else KEEP])
    forge.sections[section][0].codec = codec.id
    with pytest.raises(FormatError, match="has the unknown codec"):
        read(forge.build())


@pytest.mark.parametrize("codec", CODECS, ids=lambda codec: codec.name)
def test_every_codec_is_read_wherever_it_stands(codec: Codec) -> None:
    data = with_codec(codec.name)
    content = read(data)
    with Reader.open(data) as reader:
        assert reader.codecs()["masks"] == {codec.name: 1}
    same(read(encode(content)), content)


@pytest.mark.parametrize("codec", CODECS, ids=lambda codec: codec.name)
def test_the_masks_of_a_patch_may_be_written_by_any_codec(codec: Codec) -> None:
    """Its bits are differences, in which no kernel says anything of its neighbours."""
    bits = np.zeros(128 * 18, np.uint8) if codec.name == "const" else random_bits(128 * 18, 0.05, 24)
    bits = 1 - bits if codec.name == "gap-inverted" else bits
    old = Content(24, (Prototype(7, "signed"),), (masked_tensor("w", (128, 2, 3, 3), np.zeros(128 * 18, np.uint8)),))
    new = replace(old, masked=(masked_tensor("w", (128, 2, 3, 3), bits),))
    patch = make_delta(old, new)
    raw = patch.masked[0].planes[0].tobytes()
    stored = codec.encode(raw, mask_lattice(manifest_of(patch), (), 0, len(raw)))
    assert stored is not None
    forge = Forge.of(encode(patch))
    forge.sections[1] = [Piece(codec.id, popcount(raw), stored)]
    same(read(forge.build()), patch)
    same(apply_delta(old, read(forge.build())), new)


# More than three chunks of masks: a tensor that spans chunks, several in one chunk, one that ends where a chunk ends.
LARGE_BITS = [8 * CHUNK_BYTES - 80, 80, 16 * CHUNK_BYTES + 13, 3, 8]


def large() -> bytes:
    base = one_tensor(8)
    tensors = tuple(
        masked_tensor(f"t{at}", (count,), np.resize(random_bits(1 << 16, 0.02, at), count))
        for at, count in enumerate(LARGE_BITS)
    )
    values = np.resize(np.arange(5000, dtype="<f4"), 3 * CHUNK_BYTES // 8)
    return encode(replace(base, masked=tensors, residual=(dense("r0", values), dense("r1", [1.0, 2.0]))))


@pytest.fixture(scope="module")
def large_file() -> bytes:
    return large()


def test_one_tensor_is_read_without_decoding_the_others(large_file: bytes) -> None:
    whole = read(large_file)
    forge = Forge.of(large_file)
    assert [len(pieces) for pieces in forge.sections] == [0, 4, 2]
    for at, expected in enumerate(whole.masked):
        with Reader.open(large_file) as reader:
            assert reader.masked(f"t{at}").planes[0].tobytes() == expected.planes[0].tobytes()
    for expected_entry in whole.residual:
        with Reader.open(large_file) as reader:
            assert reader.residual(expected_entry.name).values.tobytes() == expected_entry.values.tobytes()
    # A chunk that is damaged spoils only what stands in it; the message names that.
    damaged = Forge.of(large_file)
    damaged.sections[1][0].data = b"\0" + damaged.sections[1][0].data[1:]
    damaged.sections[1][0].crc = 1
    with Reader.open(damaged.build()) as reader:
        assert reader.masked("t2").planes[0].tobytes() == whole.masked[2].planes[0].tobytes()
        assert reader.masked("t4").planes[0].tobytes() == whole.masked[4].planes[0].tobytes()
        for name in ("t0", "t1"):
            with pytest.raises(FormatError, match=r"^a chunk of the masks \('t0' to 't1'\) is damaged: its CRC-32"):
                reader.masked(name)


@pytest.mark.parametrize(("chunk", "held"), [(0, "'t0' to 't1'"), (1, "'t2'"), (2, "'t2'"), (3, "'t2' to 't4'")])
def test_damage_names_the_tensors_of_the_chunk(large_file: bytes, chunk: int, held: str) -> None:
    forge = Forge.of(large_file)
    forge.sections[1][chunk].crc = 0
    with pytest.raises(FormatError, match=rf"^a chunk of the masks \({held}\) is damaged: its CRC-32 differs$"):
        read(forge.build())


def test_a_reader_serves_several_threads(large_file: bytes) -> None:
    expected = {f"t{at}": hashlib.sha256(each.planes[0]).digest() for at, each in enumerate(read(large_file).masked)}
    wrong: list[str] = []
    with Reader.open(large_file) as reader:

        def work(names: list[str]) -> None:
            for name in names * 4:
                if hashlib.sha256(reader.masked(name).planes[0]).digest() != expected[name]:
                    wrong.append(name)

        threads = [threading.Thread(target=work, args=(list(expected)[at:] + list(expected)[:at],)) for at in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not wrong
