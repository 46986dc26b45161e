"""What SPEC.md prints in sections 12 and 13 is what the code gives, byte for byte."""

from __future__ import annotations

import json
import re
import struct
from hashlib import sha256
from pathlib import Path

import pytest
import zstandard
from forge import Forge
from make_golden import GOLDEN
from second.numbers import UPPER_HALF, log8_steps
from spec_vectors import BLOCKS

from pemn_formats.codecs.context import MOST_TIMES
from pemn_formats.limits import (
    CHUNK_BYTES,
    MAX_CHUNKS,
    MAX_DIMS,
    MAX_DRAWN_TIMES,
    MAX_DRAWN_VALUES,
    MAX_MANIFEST_BYTES,
    MAX_MANIFEST_ITEMS,
    MAX_TENSORS,
)
from pemn_formats.mask_lattice import MOST_BLOCKS
from pemn_formats.prelude import VERSION
from pemn_formats.reader import Reader, read
from pemn_formats.reconstruct import state
from pemn_formats.rounding import OUTPUT_DTYPES

SPEC = (Path(__file__).parents[2] / "formats" / "SPEC.md").read_text()
DUMP_LINE = re.compile(r"([0-9a-f]{4})  ((?:[0-9a-f]{2} ){0,15}[0-9a-f]{2})(?:  .*)?")


def section(number: int) -> str:
    (text,) = re.findall(rf"^## {number}\. [^\n]*\n(.*?)(?=^## |\Z)", SPEC, re.DOTALL | re.MULTILINE)
    return str(text)


def blocks(text: str) -> list[str]:
    """The indented blocks, without their indentation."""
    found = re.findall(r"(?:^ {4}.*\n)+", text, re.MULTILINE)
    return ["".join(line[4:] for line in block.splitlines(keepends=True)).rstrip("\n") for block in found]


@pytest.mark.parametrize(("number", "name"), list(enumerate(BLOCKS)))
def test_vectors(number: int, name: str) -> None:
    assert f"**{name}" in section(12)
    assert blocks(section(12))[number] == BLOCKS[name]()


def test_every_block_of_vectors_is_checked() -> None:
    assert len(blocks(section(12))) == len(BLOCKS)


def test_the_second_reader_has_the_tables_of_the_specification() -> None:
    printed = dict(zip(BLOCKS, blocks(section(12)), strict=True))
    assert tuple(map(int, printed["T"].split())) == UPPER_HALF
    assert tuple(map(int, printed["U"].split())) == log8_steps()


def worked() -> dict[str, str]:
    parts = re.split(r"^\*\*`(\w+)\.pemn`\*\*", section(13), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


every_worked_file = pytest.mark.parametrize("name", worked())


def test_there_are_worked_files() -> None:
    assert len(worked()) >= 3


@every_worked_file
def test_hex_dumps_are_the_golden_files(name: str) -> None:
    data = (GOLDEN / f"{name}.pemn").read_bytes()
    assert worked()[name].startswith(f", {len(data)} bytes.")
    dumped = b""
    for line in blocks(worked()[name])[1].splitlines():
        found = DUMP_LINE.fullmatch(line)
        assert found, line
        assert int(found[1], 16) == len(dumped), line
        dumped += bytes.fromhex(found[2])
    assert dumped == data


@every_worked_file
def test_what_stands_behind_the_dumps_is_what_the_files_hold(name: str) -> None:
    data = (GOLDEN / f"{name}.pemn").read_bytes()
    identity, _, manifest, *runs, weights, hashes = blocks(worked()[name])
    with Reader.open(data) as reader:
        assert identity == reader.content_id()
    assert manifest.replace("\n", "") == json.dumps(Forge.of(data).manifest, sort_keys=True, separators=(",", ":"))
    for line, (key, values) in zip(weights.splitlines(), state(read(data)).items(), strict=True):
        assert line.split() == [key, *(f"{bits:08x}" for bits in struct.unpack("<8I", values.tobytes()[:32]))]
    states = {dtype: state(read(data), dtype) for dtype in OUTPUT_DTYPES}
    assert [line.split() for line in hashes.splitlines()] == [
        [key, dtype, sha256(each[key].astype(each[key].dtype.newbyteorder("<")).tobytes()).hexdigest()]
        for key in states["float32"]
        for dtype, each in states.items()
    ]
    for text in runs:
        frame = Forge.of(data).sections[1][0].data[1:]
        assert bytes(map(int, text.split())) == zstandard.ZstdDecompressor().decompress(b"\x28\xb5\x2f\xfd" + frame)


@pytest.mark.parametrize(
    ("number", "says"),
    [
        (2, f"u16 | major version, {VERSION[0]} |"),
        (2, f"u16 | minor version, {VERSION[1]} |"),
        (2, f"above 2^{MAX_MANIFEST_BYTES.bit_length() - 1};"),
        (2, f"more than 2^{MAX_CHUNKS.bit_length() - 1} chunks"),
        (3, f"more than 2^{MAX_MANIFEST_ITEMS.bit_length() - 1} of the characters"),
        (3, f"at most {MAX_TENSORS:,} masked tensors"),
        (3, f"(1 to {MAX_DIMS} dimensions"),
        (3, f"at most 2^{MAX_DRAWN_VALUES.bit_length() - 1}, or {MAX_DRAWN_TIMES} times all masked weights"),
        (4, f"chunks of 2^{CHUNK_BYTES.bit_length() - 1} bytes"),
        (6, f"at least 1/{MOST_TIMES} of its bytes"),
        (6, f"have at most 2^{MOST_BLOCKS.bit_length() - 1} blocks together"),
    ],
)
def test_bounds_are_those_of_the_code(number: int, says: str) -> None:
    assert says in section(number)
