from __future__ import annotations

import struct

import pytest
from forge import HEADER, NAMES, PRELUDE, ROW, Forge
from samples import SAMPLES
from two_readers import read

from pemn_formats.errors import FormatError
from pemn_formats.limits import CHUNK_BYTES, MAX_CHUNKS, MAX_MANIFEST_BYTES
from pemn_formats.prelude import CHUNK_ROW, MAGIC, PRELUDE_BYTES, VERSION, Prelude, chunk_lengths
from pemn_formats.writer import encode

DATA = Forge.of(encode(SAMPLES["keep_tile"]())).build()


def test_the_layout_is_the_one_that_the_tests_know() -> None:
    assert (PRELUDE_BYTES, CHUNK_ROW.format, CHUNK_ROW.size) == (HEADER, ROW.format, 13) == (128, "<BIII", 13)
    assert bytes.fromhex("89 50 45 4D 4E 0D 0A 1A") == MAGIC
    assert VERSION == (1, 0)
    fields = dict(zip(NAMES, PRELUDE.unpack_from(DATA), strict=True))
    prelude = Prelude.unpack(DATA[:PRELUDE_BYTES], len(DATA))
    assert prelude.manifest_stored == fields["manifest_stored"]
    assert prelude.file_bytes == fields["file_bytes"] == len(DATA)
    assert (fields["flags"], fields["reserved"]) == (0, 0)


LIES = [
    ({"major": 0}, r"the file has format version 0\.0, this reader knows 1\.x; upgrade pemn-compress$"),
    ({"major": 2, "minor": 7}, r"the file has format version 2\.7, this reader knows 1\.x; upgrade pemn-compress$"),
    ({"flags": 1}, r"the file needs features that this reader lacks \(flags 0x1\); upgrade pemn-compress$"),
    ({"flags": 1 << 31}, r"the file needs features that this reader lacks \(flags 0x80000000\)"),
    ({"reserved": 1}, "the file needs features that this reader lacks"),
    ({"manifest_raw": 0, "manifest_stored": 0}, f"the manifest takes 0 bytes for 0, expected .*{MAX_MANIFEST_BYTES}$"),
    ({"manifest_stored": 0}, "the manifest takes 0 bytes for "),
    ({"manifest_raw": 5, "manifest_stored": 6}, "the manifest takes 6 bytes for 5, expected at most"),
    ({"manifest_raw": MAX_MANIFEST_BYTES + 1}, rf"the manifest takes \d+ bytes for {MAX_MANIFEST_BYTES + 1}, expected"),
    ({"chunks": MAX_CHUNKS + 1}, f"the file has {MAX_CHUNKS + 1} chunks, at most {MAX_CHUNKS} are allowed$"),
    ({"file_bytes": len(DATA) + 3}, rf"the file is truncated: it has {len(DATA)} bytes, expected {len(DATA) + 3}$"),
    ({"file_bytes": (1 << 64) - 1}, rf"the file is truncated: it has {len(DATA)} bytes, expected {(1 << 64) - 1}$"),
    ({"file_bytes": len(DATA) - 3}, rf"3 bytes follow the end of the file at {len(DATA) - 3}$"),
    ({"masks": 0}, f"the header and the sections do not add up to the {len(DATA)} bytes of the file$"),
    ({"residual": 1 << 63, "masks": 1 << 63}, "the header and the sections do not add up"),
    ({"chunks": MAX_CHUNKS}, "the header and the sections do not add up"),
]


@pytest.mark.parametrize(("lies", "message"), LIES, ids=[",".join(lies) for lies, _ in LIES])
def test_each_lie_is_told(lies: dict[str, int], message: str) -> None:
    forge = Forge.of(DATA)
    forge.fields = lies
    with pytest.raises(FormatError, match=rf"^{message}"):
        read(forge.build())


def test_a_newer_minor_version_is_read() -> None:
    forge = Forge.of(DATA)
    forge.fields = {"minor": 9}
    assert read(forge.build()).seed == 2022
    assert Prelude.unpack(forge.build(), len(DATA)).version == (1, 9)


SAFETENSORS = struct.pack("<Q", 2) + b"{}" + bytes(200)
NOT_OURS = [
    (b"", "the file is empty$"),
    (b"\x89", "the file is truncated: it has 1 bytes, its prelude alone takes 128$"),
    (MAGIC[:7], "the file is truncated: it has 7 bytes"),
    (MAGIC, "the file is truncated: it has 8 bytes"),
    (DATA[:127], "the file is truncated: it has 127 bytes"),
    (b"hi", "not a .pemn file: it has 2 bytes and no signature$"),
    (b"hello world, this is text", r"not a .pemn file: it starts with b'hello wo'$"),
    (SAFETENSORS, "not a .pemn file: it looks like safetensors; export a trained run to get a .pemn file$"),
    (b"PK\3\4" + bytes(200), "not a .pemn file: it looks like a zip archive or a torch checkpoint$"),
    (bytes(200), r"not a .pemn file: it starts with b'\\x00"),
    (b"\x1b[2J\x07\r\n\0" * 30, r"not a .pemn file: it starts with b'\\x1b"),
    (DATA.replace(b"\r\n", b"\n"), "the file was damaged by a text-mode transfer"),
    (DATA.replace(b"\r\n", b"\r\r\n"), "the file was damaged by a text-mode transfer"),
    (DATA.replace(b"\n", b"\r\n"), "the file was damaged by a text-mode transfer"),
    (DATA.replace(b"\r", b"\n"), "the file was damaged by a text-mode transfer"),
    (bytes(byte & 127 for byte in DATA), "the file was damaged by a text-mode transfer"),
    (DATA[1:], "the file was damaged by a text-mode transfer"),
    (DATA.replace(b"\x89", "\ufffd".encode(), 1), r"not a .pemn file: it starts with b'\\xef\\xbf\\xbdPEMN"),
    (DATA.replace(b"\x1a", b"", 1), "the file was damaged by a text-mode transfer"),
]


@pytest.mark.parametrize(("data", "message"), NOT_OURS, ids=range(len(NOT_OURS)))
def test_what_is_no_file_of_ours_is_told_apart(data: bytes, message: str) -> None:
    with pytest.raises(FormatError, match=rf"^{message}") as caught:
        read(data)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("seal", [0, 31])
def test_the_header_is_sealed(seal: int) -> None:
    data = bytearray(DATA)
    data[PRELUDE.size + seal] ^= 1
    with pytest.raises(FormatError, match=r"^the header is damaged: its SHA-256 differs$"):
        read(bytes(data))


@pytest.mark.parametrize("length", [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES])
def test_streams_are_cut_into_full_chunks_and_a_rest(length: int) -> None:
    lengths = chunk_lengths(length)
    assert sum(lengths) == length
    assert all(each == CHUNK_BYTES for each in lengths[:-1])
    assert all(0 < each <= CHUNK_BYTES for each in lengths)
