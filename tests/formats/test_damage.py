"""Golden files: what they say for ever, and that no damage to them goes unseen."""

from __future__ import annotations

import json
import re

import pytest
from make_golden import EXPECTED, GOLDEN, expectation, golden_bytes, main

from pemn_formats.codecs import CODECS
from pemn_formats.errors import FormatError
from pemn_formats.reader import Reader, read
from pemn_formats.writer import encode

# Until a file is released, what the code writes now stands for it.
FILES = golden_bytes() | {path.stem: path.read_bytes() for path in sorted(GOLDEN.glob("*.pemn"))}
every_file = pytest.mark.parametrize("name", FILES)
PARTS = re.compile(
    "not a .pemn file: |the file was damaged by a text-mode transfer|the file has format version"
    "|the file needs features"
    "|the manifest takes |the file has .* chunks|the file is truncated|.* bytes follow the end of the file"
    "|the header and the sections do not add up|the header is damaged: its SHA-256 differs"
    r"|a chunk of the (prototypes|masks|residual) \(.*\) is damaged: its CRC-32 differs"
)


@pytest.mark.parametrize("name", sorted(json.loads(EXPECTED.read_text())) if EXPECTED.exists() else [])
def test_golden_files_say_what_they_said(name: str) -> None:
    assert expectation(FILES[name]) == json.loads(EXPECTED.read_text())[name]


def test_golden_files_and_expectations_belong_together() -> None:
    expected = json.loads(EXPECTED.read_text()) if EXPECTED.exists() else {}
    assert set(expected) == {path.stem for path in GOLDEN.glob("*.pemn")}


@every_file
def test_golden_files_are_written_again_with_the_same_identity(name: str) -> None:
    with Reader.open(FILES[name]) as old, Reader.open(encode(read(FILES[name]))) as new:
        assert old.content_id() == new.content_id()


def test_golden_files_use_every_codec() -> None:
    used: set[str] = set()
    for data in FILES.values():
        with Reader.open(data) as reader:
            used |= {codec for section in reader.codecs().values() for codec in section}
    assert used == {codec.name for codec in CODECS}


@every_file
def test_every_flipped_bit_is_detected_and_its_part_named(name: str) -> None:
    data = bytearray(FILES[name])
    with Reader.open(FILES[name]) as reader:
        header = reader.prelude.header_bytes
    for at in range(len(data)):
        for bit in range(8):
            data[at] ^= 1 << bit
            with pytest.raises(FormatError) as caught:
                read(data)
            data[at] ^= 1 << bit
            message = str(caught.value)
            assert PARTS.match(message), message
            assert ("chunk of" in message) == (at >= header), (at, bit, message)


@every_file
def test_every_truncation_is_detected(name: str) -> None:
    data = FILES[name]
    for length in range(1, len(data)):
        with pytest.raises(FormatError, match=rf"^the file is truncated: it has {length} bytes, "):
            read(data[:length])
    with pytest.raises(FormatError, match=r"^the file is empty$"):
        read(b"")


@every_file
def test_appended_bytes_are_detected(name: str) -> None:
    data = FILES[name]
    for tail in (b"\0", b"\n", data[-1:], data, bytes(5000)):
        with pytest.raises(FormatError, match=rf"^{len(tail)} bytes follow the end of the file at {len(data)}$"):
            read(data + tail)


@every_file
def test_single_tensors_of_a_damaged_file_are_checked_too(name: str) -> None:
    """The CRC-32 of the chunk is all that a single tensor is checked by, and it sees any flipped bit."""
    data = bytearray(FILES[name])
    with Reader.open(FILES[name]) as reader:
        header = reader.prelude.header_bytes
        masked = [tensor.name for tensor in reader.manifest.masked]
        entries = [(entry.name, entry.kind) for entry in reader.manifest.residual]
    for at in range(header, len(data)):
        data[at] ^= 0x10
        failed = 0
        with Reader.open(bytes(data)) as reader:
            calls = [lambda n=n: reader.masked(n) for n in masked]
            calls += [lambda e=e: reader.residual(*e) for e in entries]
            calls += [reader.prototypes]
            for call in calls:
                try:
                    call()
                except FormatError as error:
                    failed += 1
                    assert "is damaged: its CRC-32 differs" in str(error)  # noqa: PT017
        data[at] ^= 0x10
        assert failed, at


def test_making_golden_files_leaves_those_that_exist(
    tmp_path: object, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("make_golden.GOLDEN", tmp_path)
    monkeypatch.setattr("make_golden.EXPECTED", tmp_path / "expected.json")  # type: ignore[operator]
    assert main() == 0
    first = {path.name: path.read_bytes() for path in tmp_path.iterdir()}  # type: ignore[attr-defined]
    assert set(first) == {f"{name}.pemn" for name in golden_bytes()} | {"expected.json"}
    assert capsys.readouterr().err == ""
    monkeypatch.setattr("make_golden.encode", lambda content: b"other")
    monkeypatch.setattr("make_golden.with_codec", lambda name: b"other")
    monkeypatch.setattr("make_golden.context_bytes", lambda content: b"other")
    assert main() == 0
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == first  # type: ignore[attr-defined]
    assert capsys.readouterr().err.count("exists and stays as it is") == len(first) - 1
