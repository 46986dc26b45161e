"""Two readers that share no code refuse the same files, and read the same where damage leaves a good one."""

from __future__ import annotations

import random

import pytest
import second_reader
from forge import Forge
from make_golden import context_bytes
from mutations import mutate
from originals import originals
from spec_vectors import EXAMPLES
from two_readers import FILES, first, second

from pemn_formats.canonical_json import dump
from pemn_formats.content import Content
from pemn_formats.delta import apply_delta
from pemn_formats.errors import PemnError
from pemn_formats.reader import read
from pemn_formats.writer import content_id, encode


def test_both_accept_and_refuse_the_same_mutations() -> None:
    rng = random.Random(11)
    originals = [Forge.of(data) for data in FILES.values()]
    accepted = 0
    for _ in range(6000):
        data = mutate(rng, rng.choice(originals))
        ours = first(data)
        accepted += ours is not None
        assert second(data) == ours
    assert 600 < accepted < 3000


@pytest.mark.parametrize("name", FILES)
def test_the_second_refuses_every_flipped_bit_truncation_and_appended_byte_too(name: str) -> None:
    """That ours does is seen in `test_damage`."""
    data = bytearray(FILES[name])
    for at in range(len(data)):
        assert second(bytes(data[:at])) is None, at
        for bit in range(8):
            data[at] ^= 1 << bit
            assert second(bytes(data)) is None, (at, bit)
            data[at] ^= 1 << bit
    assert second(bytes(data)) is not None
    for tail in (b"\0", bytes(data)):
        assert second(bytes(data) + tail) is None


def test_both_apply_and_refuse_the_same_mutated_patches() -> None:
    rng = random.Random(13)
    patches = [each for each in originals() if each.name.startswith("patch")]
    applied = refused = 0
    for _ in range(600):
        original = rng.choice(patches)
        forge = original.forge.copy()
        (flags,) = rng.choices([forge.manifest["delta"][key] for key in ("prototypes", "masked", "residual")])
        if flags and rng.random() < 0.5:
            flags[rng.randrange(len(flags))] ^= 1
        data = forge.build() if rng.random() < 0.2 else mutate(rng, forge)
        if first(data) is None:
            continue
        ours = applied_by_first(original.base, data)
        assert applied_by_second(original.base, data) == ours
        applied += ours is not None
        refused += ours is None
    assert min(applied, refused) > 25


def applied_by_first(base: Content, patch: bytes) -> str | None:
    try:
        return content_id(apply_delta(base, read(patch)))
    except PemnError:
        return None


def applied_by_second(base: Content, patch: bytes) -> str | None:
    try:
        return second_reader.apply(second_reader.load(encode(base)), second_reader.load(patch)).content_id()
    except second_reader.RefusedError:
        return None


@pytest.mark.parametrize("bit", range(8))
def test_both_judge_every_flipped_bit_of_stored_chunks_alike(bit: int) -> None:
    """With digests, CRC and number of ones repaired, so that the coders themselves are asked."""
    files = {name: FILES[name] for name in ("codec_context", "codec_gap", "sparse_mask", "int8_layers", "patch")}
    for name, file in (files | {name: context_bytes(content) for name, content in EXAMPLES.items()}).items():
        forge = Forge.of(file)
        for piece in [piece for pieces in forge.sections for piece in pieces]:
            stored = piece.data
            for at in range(len(stored)):
                piece.data = stored[:at] + bytes((stored[at] ^ 1 << bit,)) + stored[at + 1 :]
                data = forge.build()
                assert first(data) == second(data), (name, at)
            piece.data = stored


TEXTS = [
    '"\\u007f"',
    '"\x7f"',
    '"\\u0080"',
    '"\\u00E9"',
    '"\\u0000"',
    '"\\u0008"',
    '"\\b"',
    '"\\/"',
    '"/"',
    '"\\ud83d\\ude00"',
    '"\\ud800"',
    '"\\ude00\\ud83d"',
    '"\\ud83d\\u0041"',
    "18446744073709551615",
    "18446744073709551616",
    "-0",
    "01",
    "+1",
    "-9223372036854775808",
    "-9223372036854775809",
    "1.0",
    "1e1",
    "NaN",
    "true",
    "null",
    '{"a":1,"a":1}',
    '{"b":1,"a":1}',
    '{"\\ud83d\\ude00":1,"\\uffff":1}',
    '{"\\uffff":1,"\\ud83d\\ude00":1}',
    "[1,]",
    "[1 ]",
    "[]",
    "{}",
    '""',
    "1" * 5000,
    *("[" * depth + "]" * depth for depth in (15, 16, 17, 1000)),
    *("[" * depth + "1" + "]" * depth for depth in (15, 16)),
]


@pytest.mark.parametrize("text", TEXTS, ids=range(len(TEXTS)))
def test_both_know_one_form_of_json(text: str) -> None:
    forge = Forge.of(FILES["constant_masks"])
    forge.raw_manifest = dump(forge.manifest)[:-1] + f',"x":{{"y":{text}}}}}'.encode("latin-1")
    data = forge.build()
    assert first(data) == second(data)
