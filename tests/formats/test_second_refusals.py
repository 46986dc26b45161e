"""Two readers that share no code refuse the same files, and read the same where damage leaves a good one."""

from __future__ import annotations

import random

import pytest
from forge import Forge
from make_golden import context_bytes
from mutations import mutate
from spec_vectors import EXAMPLES
from two_readers import FILES, first, second

from pemn_formats.canonical_json import dump


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


@pytest.mark.parametrize("name", ["constant_masks", "codec_context"])
def test_both_refuse_every_flipped_bit(name: str) -> None:
    data = bytearray(FILES[name])
    for at in range(len(data)):
        for bit in range(8):
            data[at] ^= 1 << bit
            assert first(bytes(data)) is second(bytes(data)) is None, (at, bit)
            data[at] ^= 1 << bit


@pytest.mark.parametrize("name", ["constant_masks", "every_dtype"])
def test_both_refuse_every_truncation_and_appended_byte(name: str) -> None:
    data = FILES[name]
    for other in (*(data[:length] for length in range(len(data))), data + b"\0", data + data):
        assert first(other) is second(other) is None


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
