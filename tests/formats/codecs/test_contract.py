from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from samples import random_bits

from pemn_formats.bits import pack
from pemn_formats.codecs import CODECS, MASK_CODECS, VALUE_CODECS, Codec, codec, encode_smallest, encoders
from pemn_formats.codecs.context import Context
from pemn_formats.errors import FormatError
from pemn_formats.lattice import Flat, Lattice
from pemn_formats.limits import CHUNK_BYTES

pytestmark = pytest.mark.usefixtures("both_ways")


def lattice_of(raw_length: int) -> Lattice:
    """What is known of a chunk that is one tensor without kernels."""
    return (Flat(0, 8 * raw_length),)


def encode(each: Codec, raw: bytes) -> bytes | None:
    return each.encode(raw, lattice_of(len(raw)))


def decode(each: Codec, stored: bytes, raw_length: int) -> bytes:
    return each.decode(stored, raw_length, lattice_of(raw_length))


every_codec = pytest.mark.parametrize("each", CODECS, ids=lambda each: each.name)
chunks = (
    st.binary(min_size=1, max_size=200)
    | st.tuples(st.integers(0, 255), st.integers(1, 300)).map(lambda pair: bytes([pair[0]]) * pair[1])
    | st.tuples(st.integers(1, 400), st.floats(0, 1), st.integers(0, 9)).map(
        lambda drawn: pack(random_bits(8 * drawn[0], drawn[1], drawn[2])).tobytes()
    )
)


def test_ids_are_places_and_names_differ() -> None:
    assert [each.id for each in CODECS] == list(range(len(CODECS)))
    assert len({each.name for each in CODECS}) == len(CODECS)
    assert set(VALUE_CODECS) <= set(CODECS)
    assert set(MASK_CODECS) <= set(CODECS)
    for each in CODECS:
        assert codec(each.id) is each


@pytest.mark.parametrize("bad", [-1, len(CODECS), 255])
def test_an_unknown_id_is_refused(bad: int) -> None:
    with pytest.raises(FormatError, match=rf"^unknown codec {bad}; this version knows 0 to {len(CODECS) - 1}$"):
        codec(bad)


@pytest.mark.parametrize("each", [each for each in CODECS if each.uses_lattice], ids=lambda each: each.name)
def test_a_codec_that_needs_the_places_of_the_bits_leaves_chunks_without_them_to_others(each: Codec) -> None:
    assert each.encode(bytes(100)) is None


@every_codec
@given(chunks)
def test_what_is_encoded_decodes_again(each: Codec, raw: bytes) -> None:
    stored = encode(each, raw)
    assert stored == encode(each, raw)
    if stored is not None:
        assert decode(each, stored, len(raw)) == raw


@every_codec
@pytest.mark.parametrize("density", [0.003, 0.1, 0.5, 0.997, 1.0])
def test_a_whole_chunk_comes_back(each: Codec, density: float) -> None:
    raw = pack(random_bits(8 * CHUNK_BYTES, density, 3)).tobytes()
    stored = encode(each, raw)
    if stored is not None:
        assert decode(each, stored, len(raw)) == raw


@every_codec
@given(st.binary(max_size=80), st.integers(1, 400))
def test_any_stored_bytes_give_the_raw_length_or_a_format_error(each: Codec, stored: bytes, raw_length: int) -> None:
    check_hostile(each, stored, raw_length)


@every_codec
@given(chunks, st.data())
def test_damaged_stored_bytes_give_the_raw_length_or_a_format_error(
    each: Codec, raw: bytes, data: st.DataObject
) -> None:
    stored = encode(each, raw)
    if not stored:
        return
    at = data.draw(st.integers(0, len(stored) - 1))
    flipped = bytes([stored[at] ^ 1 << data.draw(st.integers(0, 7))])
    for changed in (
        stored[:at] + flipped + stored[at + 1 :],
        stored[:at],
        stored[:at] + stored[at + 1 :],
        stored + flipped,
    ):
        check_hostile(each, changed, len(raw))
    check_hostile(each, stored, len(raw) + 1)
    check_hostile(each, stored, max(1, len(raw) - 1))


@every_codec
def test_decoding_is_strict_about_the_length_of_what_it_stores(each: Codec) -> None:
    for density in (0.02, 0.98, 0.0):
        raw = pack(random_bits(1024, density, 4)).tobytes()
        stored = encode(each, raw)
        if stored is None:
            continue
        for changed in (stored[:-1], stored + b"\0", b""):
            with pytest.raises(FormatError):
                decode(each, changed, len(raw))


def check_hostile(each: Codec, stored: bytes, raw_length: int) -> None:
    try:
        found = decode(each, stored, raw_length)
    except FormatError as error:
        assert str(error).isprintable()  # noqa: PT017
    else:
        assert isinstance(found, bytes)
        assert len(found) == raw_length


@given(chunks)
def test_the_smallest_is_chosen_and_of_equals_the_lowest_id(raw: bytes) -> None:
    """But a codec that decodes slowly has to save its share."""
    for candidates in (MASK_CODECS, VALUE_CODECS):
        chosen, stored = encode_smallest(raw, candidates, lattice_of(len(raw)))
        lengths = [(len(each), one.id) for one in candidates if (each := encode(one, raw)) is not None]
        least = min(lengths)
        assert (len(stored), chosen.id) == least or (len(stored) <= 1.004 * least[0] and CODECS[least[1]].uses_lattice)
        assert len(stored) <= len(raw)
        assert decode(chosen, stored, len(raw)) == raw


@pytest.mark.parametrize("bits", [1 << 16, 1 << 20])
@pytest.mark.parametrize(("saved", "taken"), [(0.003, 0), (0.005, 5)])
def test_a_slow_codec_must_save_its_share(bits: int, saved: float, taken: int, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = pack(random_bits(bits, 0.5, 6)).tobytes()
    monkeypatch.setattr(Context, "encode", lambda self, raw, lattice: raw[: round(len(raw) * (1 - saved))])
    assert encode_smallest(raw, MASK_CODECS, (Flat(0, bits),))[0].id == taken


DENSITIES = [0.003, 0.0035, 0.004, 0.005, 0.007, 0.01, 0.015, 0.03, 0.05, 0.07, 0.1, 0.15, 0.17, 0.18, 0.19, 0.2, 0.22]


@pytest.mark.parametrize("balanced", [True, False], ids=["without the context coder", "with it"])
@pytest.mark.parametrize("density", [*DENSITIES, 0.24, 0.27, 0.3, 0.35, 0.4, 0.45, 0.5, 0.8, 0.9, 0.99, 0.996])
def test_masks_of_a_million_weights_come_close_to_shannon(density: float, balanced: bool) -> None:
    bits = random_bits(1 << 20, density, 5)
    ones = int(bits.sum())
    p = np.array([ones, bits.size - ones]) / bits.size
    bound = bits.size * float(-(p * np.log2(p)).sum()) / 8
    tried = encoders("balanced", MASK_CODECS, mask_bits=1 << 24) if balanced else MASK_CODECS
    _, stored = encode_smallest(pack(bits).tobytes(), tried, (Flat(0, bits.size),))
    assert len(stored) <= 1.015 * bound
