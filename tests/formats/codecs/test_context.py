"""`context`: what a matrix tells of itself is used, what it does not costs little, and hostile bytes are refused."""

from __future__ import annotations

import hashlib
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from masks import mixtures, smooth

from pemn_formats.bits import pack
from pemn_formats.codecs.context import Context, lanes
from pemn_formats.codecs.matrix import WRONG_PLANE
from pemn_formats.codecs.rans import Decoder, encode
from pemn_formats.content import Content, MaskedTensor, Prototype
from pemn_formats.errors import FormatError
from pemn_formats.lattice import Flat, Matrix, growing
from pemn_formats.ledger import entropy_bits
from pemn_formats.limits import CHUNK_BYTES
from pemn_formats.manifest import manifest_of
from pemn_formats.mask_lattice import FEWEST_ALONE, mask_lattice

pytestmark = pytest.mark.usefixtures("both_ways")


def both(content: Content) -> tuple[bytes, bytes]:
    """The mask of a content of one chunk, and its coded form, decoded again and compared."""
    raw = b"".join(plane.tobytes() for tensor in content.masked for plane in tensor.planes)
    lattice = mask_lattice(manifest_of(content), content.prototypes, 0, len(raw))
    stored = Context().encode(raw, lattice)
    assert stored is not None
    assert Context().decode(stored, len(raw), lattice) == raw
    return raw, stored


@pytest.mark.parametrize("alphabet", ["keep", "sign"])
@pytest.mark.parametrize("shape", [(32, 16, 3, 3), (256, 1, 5, 5), (64, 32, 3), (16, 16, 2, 2, 2)])
def test_kernels_that_agree_shrink(alphabet: str, shape: tuple[int, ...]) -> None:
    raw, stored = both(smooth(shape, alphabet, noise=0.02))
    assert len(stored) < 0.75 * len(raw)


@pytest.mark.parametrize(("alphabet", "most"), [("keep", 0.7), ("sign", 0.7), ("ternary", 0.8)])
def test_rows_that_are_mixtures_of_few_shrink(alphabet: str, most: float) -> None:
    raw, stored = both(mixtures(96, 80, alphabet))
    assert len(stored) < most * len(raw)


@pytest.mark.parametrize("shape", [(32, 32, 3, 3), (128, 64)])
def test_independent_bits_grow_by_less_than_two_percent(shape: tuple[int, ...]) -> None:
    raw, stored = both(smooth(shape, noise=0.5))
    assert len(stored) < 1.02 * len(raw)


def test_the_coded_bytes_are_the_same_for_ever() -> None:
    samples = smooth((24, 16, 3, 3)), mixtures(300, 9), mixtures(40, 30, "ternary")
    digest = hashlib.sha256(b"".join(both(each)[1] for each in samples)).hexdigest()
    assert digest == "981bd4f9139b13be7ff4f48b5852c761006c08e8984ef88de4d591374c8b70ed"


@given(
    st.lists(st.sampled_from([(1,), (600,), (9, 7), (7, 9), (8, 8), (20, 1, 3, 3), (33, 2, 1, 4), (9, 3, 2, 2, 2)])),
    st.sampled_from(["keep", "sign", "ternary"]),
    st.integers(0, 2**32),
)
@settings(max_examples=25, deadline=None)
def test_any_tensors_come_back(shapes: list[tuple[int, ...]], alphabet: str, seed: int) -> None:
    shapes = [*shapes, (3,)]
    rng = np.random.default_rng(seed)
    tensors = []
    for index, shape in enumerate(shapes):
        bits = rng.random(int(np.prod(shape))) < rng.random()
        kept = int(bits.sum()) if alphabet == "ternary" else None
        planes = (pack(bits),) if kept is None else (pack(bits), pack(rng.random(kept) < 0.5))
        tensors.append(MaskedTensor(f"t{index}", shape, 0, 0, alphabet, np.float32(1.0), kept, planes))
    both(Content(seed, (Prototype(3, "normal"),), tuple(tensors)))


def test_a_plane_with_another_number_of_ones_is_refused() -> None:
    """What a hostile file says of `kept` must not lead the second plane's bits astray."""
    content = mixtures(16, 16, "ternary")
    raw, _ = both(content)
    first, second = mask_lattice(manifest_of(content), content.prototypes, 0, len(raw))
    assert isinstance(second, Matrix)
    for count in (second.count - 1, second.count + 1):
        lattice = (first, replace(second, count=count))
        _, stored = both(content)
        with pytest.raises(FormatError, match=WRONG_PLANE):
            Context().decode(stored, len(raw) + 1, lattice)


@given(st.integers(1, 100_000))
def test_blocks_of_bits_alone_begin_small(count: int) -> None:
    sizes = list(growing(count))
    assert sum(sizes) == count
    assert sizes[:-1] == [min(32 << at, 8192) for at in range(len(sizes) - 1)]
    assert sizes[-1] <= min(32 << (len(sizes) - 1), 8192)


def ternary(densities: dict[int, float]) -> Content:
    """Ternary tensors by their sizes, with the density of those that are kept."""
    rng = np.random.default_rng(3)
    tensors = []
    for at, (count, density) in enumerate(densities.items()):
        kept = rng.random(count) < density
        planes = (pack(kept), pack(rng.random(int(kept.sum())) < 0.5))
        tensors.append(MaskedTensor(f"t{at}", (count,), 0, 0, "ternary", np.float32(1.0), int(kept.sum()), planes))
    return Content(0, (Prototype(3, "signed"),), tuple(tensors))


def test_each_plane_has_its_own_density() -> None:
    """Small tensors of several densities, and their signs: little more than n H(density) of each."""
    content = ternary({8192: 0.74, 16384: 0.2, 1280: 0.9, 4096: 0.02})
    planes = [
        (bits, plane) for each in content.masked for bits, plane in zip(each.plane_bits, each.planes, strict=True)
    ]
    bound = sum(entropy_bits(bits, int(np.unpackbits(plane).sum())) for bits, plane in planes) / 8
    raw, stored = both(content)
    assert bound < len(stored) < 1.012 * bound
    assert len(stored) < 0.85 * len(raw)


def test_few_bits_of_a_plane_share_their_density() -> None:
    content = ternary({8000: 0.1, 900: 0.5, FEWEST_ALONE: 0.5})
    lattice = mask_lattice(manifest_of(content), content.prototypes, 0, sum(t.mask_bytes for t in content.masked))
    assert [(part.count, part.alone) for part in lattice if isinstance(part, Flat)] == [
        (bits, bits >= FEWEST_ALONE) for each in content.masked for bits in each.plane_bits
    ]
    assert {part.alone for part in lattice if isinstance(part, Flat)} == {True, False}


def test_a_chunk_is_coded_in_little_memory() -> None:
    """Eight times its bits as bytes would be 4 MiB; several arrays of those, and none of wider numbers."""
    raw = np.random.default_rng(0).bytes(CHUNK_BYTES)
    lattice = (Flat(0, 8 * CHUNK_BYTES, alone=True),)
    stored = Context().encode(raw, lattice)
    assert stored is not None
    for arguments, mib in (((raw, lattice), 28), ((stored, len(raw), lattice), 18)):
        tracemalloc.start()
        (Context().encode if mib == 28 else Context().decode)(*arguments)  # type: ignore[operator]
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < mib << 20


def test_what_hardly_takes_a_byte_is_left_to_other_codecs() -> None:
    """A file of a few bytes must not cost hours to read."""
    lattice = (Flat(0, 1 << 20, alone=True),)
    found = {}
    for ones in (0, 100, 1000):
        bits = np.zeros(1 << 20, np.uint8)
        bits[np.random.default_rng(1).permutation(bits.size)[:ones]] = 1
        found[ones] = Context().encode(np.packbits(bits, bitorder="little").tobytes(), lattice)
    assert found[0] is None
    assert found[100] is None
    assert found[1000] is not None
    assert 128 * len(found[1000]) >= 1 << 17


def test_lanes_grow_with_the_flat_bits() -> None:
    sizes = (1, 65_535, 65_536, 1 << 18, 1 << 22, 1 << 30)
    assert [lanes((Flat(0, bits),)) for bits in sizes] == [4, 4, 8, 32, 512, 512]
    assert lanes((Matrix(0, 1 << 22, 1 << 11, 1 << 11, 1, 1, None),)) == 4


def test_hostile_bytes_are_refused() -> None:
    content = smooth((64, 4, 3, 3))
    raw, stored = both(content)
    lattice = mask_lattice(manifest_of(content), content.prototypes, 0, len(raw))

    def refused(data: bytes, message: str) -> None:
        with pytest.raises(FormatError, match=message):
            Context().decode(data, len(raw), lattice)

    assert len(raw) == 288
    refused(b"", r"^a context chunk of 0 B claims 288 B; the most is 0$")
    refused(bytes(2), r"^a context chunk of 2 B claims 288 B; the most is 256$")
    refused(bytes(3), "cannot start from 3 bytes")
    refused(stored[:15], "cannot start from 15 bytes")
    refused(stored[:-1], "cannot start from")
    refused(bytes(4) + stored[4:], "starts from a state")
    refused(stored[:-2], "runs out of bytes|left over")
    refused(stored + bytes(2), "left over")
    with pytest.raises(FormatError, match="left over"):
        Context().decode(stored, len(raw), ())


@given(st.binary(min_size=16, max_size=300))
@settings(max_examples=60, deadline=None)
def test_any_bytes_decode_or_are_refused(data: bytes) -> None:
    raw = bytes(72)
    lattice = (Flat(0, 100), Matrix(100, 450, 50, 1, 3, 3, lambda: np.ones(450, np.int8)))
    try:
        out = Context().decode(data, len(raw), lattice)
    except FormatError:
        return
    assert Context().encode(out, lattice) == data


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(1, 4095)), max_size=300), st.sampled_from([4, 8, 32]))
@settings(deadline=None)
@pytest.mark.parametrize("few", [0, 64], ids=["side by side", "one by one"])
def test_the_range_coder_gives_any_bits_back(few: int, coded: list[tuple[int, int]], width: int) -> None:
    bits = np.array([bit for bit, _ in coded], dtype=np.uint8)
    chance = np.array([p for _, p in coded], dtype=np.uint32)
    blocks = [(bits[at : at + 100], chance[at : at + 100]) for at in range(0, bits.size, 100)]
    stored = encode(blocks, width)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pemn_formats.codecs.rans._FEW", few)
        decoder = Decoder(stored, width)
        for found, p in blocks:
            assert np.array_equal(decoder.block(p), found)
        decoder.finish()
        if len(stored) > 4 * width:
            short = Decoder(stored[:-2], width)
            with pytest.raises(FormatError, match="runs out of bytes"):
                [short.block(p) for _, p in blocks]
