"""`context`: what neighbours tell is used, what they do not tell costs little, and hostile bytes are refused."""

from __future__ import annotations

import hashlib
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pemn_formats.bits import pack
from pemn_formats.codecs.context import Context, lanes
from pemn_formats.codecs.rans import Decoder, encode
from pemn_formats.content import Content, Delta, MaskedTensor, Prototype
from pemn_formats.errors import FormatError
from pemn_formats.lattice import Flat, Windows, growing
from pemn_formats.ledger import entropy_bits
from pemn_formats.limits import CHUNK_BYTES
from pemn_formats.manifest import manifest_of
from pemn_formats.mask_lattice import FEWEST_ALONE, MOST_BLOCKS, mask_lattice
from pemn_formats.reader import Reader, read
from pemn_formats.reconstruct import base
from pemn_formats.writer import content_id
from pemn_formats.writer import encode as encode_file

pytestmark = pytest.mark.usefixtures("both_ways")


def smooth(shape: tuple[int, ...], alphabet: str = "keep", seed: int = 0, noise: float = 0.1) -> Content:
    """A tensor of kernels whose kept weights mostly have one sign each."""
    rng = np.random.default_rng(seed)
    numel, window = int(np.prod(shape)), int(np.prod(shape[2:]))
    tensor = MaskedTensor("w", shape, 0, 0, alphabet, np.float32(1.0))
    content = Content(seed, (Prototype(numel, "signed"),), (tensor,))
    side = np.repeat(rng.choice((-1.0, 1.0), numel // window), window)
    bits = (base(content, tensor) == side) ^ (rng.random(numel) < noise)
    return replace(content, masked=(replace(tensor, planes=(pack(bits),)),))


def both(content: Content) -> tuple[bytes, bytes]:
    """The mask of a content of one chunk, and its coded form, decoded again and compared."""
    raw = b"".join(plane.tobytes() for tensor in content.masked for plane in tensor.planes)
    lattice = mask_lattice(manifest_of(content), content.prototypes, 0, len(raw))
    stored = Context().encode(raw, lattice)
    assert stored is not None
    assert Context().decode(stored, len(raw), lattice) == raw
    return raw, stored


@pytest.mark.parametrize("alphabet", ["keep", "sign"])
@pytest.mark.parametrize("shape", [(64, 64, 3, 3), (1024, 1, 5, 5), (128, 64, 3), (32, 32, 2, 2, 2)])
def test_kernels_that_agree_shrink(alphabet: str, shape: tuple[int, ...]) -> None:
    raw, stored = both(smooth(shape, alphabet, noise=0.02))
    assert len(stored) < 0.9 * len(raw)


def test_independent_bits_grow_by_less_than_two_percent() -> None:
    raw, stored = both(smooth((64, 64, 3, 3), noise=0.5))
    assert len(stored) < 1.02 * len(raw)


def test_the_coded_bytes_are_the_same_for_ever() -> None:
    digest = hashlib.sha256(both(smooth((64, 16, 3, 3)))[1]).hexdigest()
    assert digest == "d08dd4f429e9cd651cda0ab05f2242739f5718b28016b0a928ec5380dc89ec9c"


@given(
    st.lists(
        st.sampled_from([(1,), (9, 7), (70, 1, 3, 3), (63, 1, 3, 3), (64, 2, 1, 2), (65, 1, 17, 17), (64, 1, 16, 16)])
    ),
    st.sampled_from(["keep", "sign", "ternary"]),
    st.integers(0, 2**32),
)
@settings(max_examples=40, deadline=None)
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


def test_kernels_cut_by_a_chunk_come_back_whole_and_alone() -> None:
    content = smooth((1024, 500, 3, 3))
    data = encode_file(content)
    with Reader.open(data) as reader:
        assert reader.codecs()["masks"] == {"context": 2}
        assert np.array_equal(reader.masked("w").planes[0], content.masked[0].planes[0])
    assert content_id(read(data)) == content_id(content)
    lattice = mask_lattice(manifest_of(content), content.prototypes, CHUNK_BYTES, 1)
    assert lattice == (Flat(0, 8),)
    head, kernels, *_ = mask_lattice(manifest_of(content), content.prototypes, CHUNK_BYTES, 4096)
    assert head == Flat(0, -(8 * CHUNK_BYTES) % 9)
    assert isinstance(kernels, Windows)
    assert (kernels.rows, kernels.height, kernels.width) == ((8 * 4096 - head.count) // 9, 3, 3)
    first = 8 * CHUNK_BYTES + head.count
    assert np.array_equal(kernels.signs(), base(content, content.masked[0])[first : first + kernels.count])


def test_a_chunk_has_no_more_blocks_than_a_reader_has_patience() -> None:
    """Many tensors of few large kernels: a file of some kilobytes must not keep a reader busy for seconds."""
    tensors = tuple(MaskedTensor(f"t{i}", (64, 1, 16, 16), 0, 0, "keep", np.float32(1.0)) for i in range(256))
    lattice = mask_lattice(manifest_of(Content(0, (Prototype(3, "signed"),), tensors)), (), 0, CHUNK_BYTES)
    assert sum(part.blocks for part in lattice if isinstance(part, Windows)) == MOST_BLOCKS
    assert sum(part.count for part in lattice) == 8 * CHUNK_BYTES
    tensors = tuple(MaskedTensor(f"t{i}", (512,), 0, 0, "keep", np.float32(1.0)) for i in range(8192))
    lattice = mask_lattice(manifest_of(Content(0, (Prototype(3, "signed"),), tensors)), (), 0, CHUNK_BYTES)
    alone = [part for part in lattice if isinstance(part, Flat) and part.alone]
    assert len(alone) == MOST_BLOCKS // len(list(growing(512)))
    assert sum(part.count for part in lattice) == 8 * CHUNK_BYTES


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
    content = smooth((1024, 456, 3, 3))
    raw = content.masked[0].planes[0].tobytes()[:CHUNK_BYTES]
    for lattice in (
        mask_lattice(manifest_of(content), content.prototypes, 0, CHUNK_BYTES),
        (Flat(0, 8 * CHUNK_BYTES, alone=True),),
    ):
        stored = Context().encode(raw, lattice)
        assert stored is not None
        for arguments, mib in (((raw, lattice), 28), ((stored, len(raw), lattice), 18)):
            tracemalloc.start()
            (Context().encode if mib == 28 else Context().decode)(*arguments)  # type: ignore[operator]
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            assert peak < mib << 20


def test_a_patch_has_no_windows_but_densities() -> None:
    content = smooth((64, 4, 3, 3))
    patch = replace(content, delta=Delta("0" * 64, "0" * 64, (0,), (1,), ()))
    assert mask_lattice(manifest_of(patch), content.prototypes, 0, 288) == (Flat(0, 2304, alone=True),)


@pytest.mark.parametrize("at_once", [1 << 18, 64])
def test_signs_follow_the_fill(at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tiled, permuted, fresh and stored values: the lattice's signs are those of the base, wherever it starts."""
    monkeypatch.setattr("pemn_formats.mask_lattice._VALUES_AT_ONCE", at_once)
    tensor = MaskedTensor("w", (100, 1, 3, 3), 0, 0, "keep", np.float32(1.0), None, (np.zeros(113, np.uint8),))
    stored = np.linspace(-1, 1, 7).astype(np.float32)
    for prototype, span in (
        (Prototype(4, "uniform"), 0),
        (Prototype(7, "uniform"), 0),
        (Prototype(900, "uniform"), 0),
        (Prototype(7, "uniform"), 900),
        (Prototype(7, "float32", stored), 0),
    ):
        content = Content(5, (prototype,), (replace(tensor, span=span),))
        (kernels, tail) = mask_lattice(manifest_of(content), content.prototypes, 10, 100)[1:]
        assert isinstance(kernels, Windows)
        expected = np.where(base(content, content.masked[0]) > 0, 1, -1)
        assert np.array_equal(kernels.signs(), expected[81 : 81 + kernels.count])
        assert tail.start == kernels.start + kernels.count


def test_lanes_grow_with_the_bits() -> None:
    assert [lanes(bits) for bits in (1, 65_535, 65_536, 1 << 18, 1 << 22, 1 << 30)] == [4, 4, 8, 32, 512, 512]


def test_hostile_bytes_are_refused() -> None:
    content = smooth((64, 4, 3, 3))
    raw, stored = both(content)
    lattice = mask_lattice(manifest_of(content), content.prototypes, 0, len(raw))

    def refused(data: bytes, message: str) -> None:
        with pytest.raises(FormatError, match=message):
            Context().decode(data, len(raw), lattice)

    refused(b"", "cannot start from 0 bytes")
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
    lattice = (Flat(0, 100), Windows(100, 50, 3, 3, True, lambda: np.ones(450, np.int8)))
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
