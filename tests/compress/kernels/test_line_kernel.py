from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
import pytest
import torch
import triton
import triton.language as tl

from pemn_compress.kernels import reconstruct as kernels
from pemn_compress.kernels import sources
from pemn_compress.kernels.known_answer import differences
from pemn_compress.kernels.values import block_words
from pemn_formats import reconstruct as reference
from pemn_formats.bits import pack
from pemn_formats.content import Content, MaskedTensor, Prototype, ResidualTensor
from pemn_formats.errors import PemnError
from pemn_formats.philox import words

SEED = 0xDEADBEEFCAFE0001  # more than 63 bits
DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
TILE = 512

# name: prototype length (of the largest tensor's 1,333 weights), span, whether its values are stored
FILLS = {
    "own": (1333, 0, False),
    "own-stored": (1333, 0, True),
    "tiled": (23, 0, False),
    "tiled-stored": (23, 0, True),
    "tiled-long": (600, 0, False),
    "shuffled": (41, 1333, False),
    "constant": (1, 0, False),
}


@pytest.fixture(autouse=True)
def _small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small tiles, so that small tensors have several and the interpreter is quick."""
    monkeypatch.setattr(kernels, "TILES", dict.fromkeys(sources.TILES, TILE))


def tensor(
    name: str,
    shape: tuple[int, ...],
    fill: tuple[int, int, bool],
    alphabet: str,
    scale: float | None,
    rng: np.random.Generator,
) -> MaskedTensor:
    code = (
        rng.integers(-1, 2, int(np.prod(shape))) if alphabet == "ternary" else rng.integers(0, 2, int(np.prod(shape)))
    )
    ternary = alphabet == "ternary"
    planes = (pack(code != 0), pack(code[code != 0] < 0)) if ternary else (pack(code),)
    held = None if scale is None else np.float32(scale)
    kept = int(np.count_nonzero(code)) if ternary else None
    return MaskedTensor(name, shape, 0, fill[1], alphabet, held, kept, planes=planes)


def content(fill: str, distribution: str, alphabet: str, scale: float | None, shapes: list[tuple[int, ...]]) -> Content:
    rng = np.random.default_rng(len(fill) + len(alphabet))
    length, _, stored = FILLS[fill]
    prototype = Prototype(length, distribution)
    if stored:
        values = reference.prototype_values(prototype, SEED, 0, 0, length)
        prototype = Prototype(length, "float32", values)
    masked = [tensor(f"t{at}", shape, FILLS[fill], alphabet, scale, rng) for at, shape in enumerate(shapes)]
    scales = []
    if scale is None:
        for each in masked:
            values = rng.normal(size=each.shape[0]).astype(np.float32)
            scales.append(ResidualTensor(each.name, values.shape, "scale", "float32", values=values))
    return Content(SEED, (prototype,), tuple(masked), tuple(scales))


def raw(held: torch.Tensor) -> bytes:
    return bytes(held.detach().cpu().contiguous().view(torch.uint8).numpy())


def compare(held: Content, dtype: str, device: str) -> None:
    found = kernels.reconstruct_many(held, held.masked, device, DTYPES[dtype])
    for weight, each in zip(found, held.masked, strict=True):
        assert kernels.supports(held, each)
        assert weight.shape == each.shape
        assert weight.dtype == DTYPES[dtype]
        assert raw(weight) == reference.reconstruct(held, each, dtype).tobytes(), each.name


def cases() -> Iterator[tuple[str, str, str, float | None, str]]:
    """Every fill with every alphabet and kind of scale; dtypes and distributions take turns."""
    dtypes, distributions = list(DTYPES), ("signed", "uniform", "normal")
    grid = itertools.product(FILLS, ("keep", "sign", "ternary"), (0.037, None, -1.5))
    for number, (fill, alphabet, scale) in enumerate(grid):
        yield fill, distributions[number % 3], alphabet, scale, dtypes[(number + number // 3) % 3]


@pytest.mark.parametrize(("fill", "distribution", "alphabet", "scale", "dtype"), list(cases()))
def test_same_bytes_as_numpy(
    fill: str, distribution: str, alphabet: str, scale: float | None, dtype: str, device: str
) -> None:
    compare(content(fill, distribution, alphabet, scale, [(31, 43)]), dtype, device)


@pytest.mark.parametrize("dtype", list(DTYPES))
@pytest.mark.parametrize("distribution", ["signed", "uniform", "normal"])
def test_generated_values(distribution: str, dtype: str, device: str) -> None:
    compare(content("own", distribution, "keep", 0.1, [(1333,)]), dtype, device)


@pytest.mark.parametrize(
    "shape", [(1,), (7,), (8,), (9, 1), (511,), (512,), (513,), (2, 300), (1025, 1), (64, 2), (3, 7, 1, 11)]
)
def test_odd_sizes_and_channels_of_every_width(shape: tuple[int, ...], device: str) -> None:
    compare(content("tiled", "uniform", "ternary", None, [shape]), "bfloat16", device)


@pytest.mark.parametrize("dtype", list(DTYPES))
@pytest.mark.parametrize("alphabet", ["keep", "sign", "ternary"])
@pytest.mark.parametrize("fill", ["own", "tiled"])
def test_signed_values_with_a_scale_for_each_channel(fill: str, alphabet: str, dtype: str, device: str) -> None:
    """Channels that end with a row, within it, and after many; and those with less than a row."""
    compare(content(fill, "signed", alphabet, None, [(9, 8), (31, 9), (5, 43), (2, 600), (40, 3)]), dtype, device)


@pytest.mark.parametrize("alphabet", ["keep", "ternary"])
def test_many_tensors_in_one_launch(alphabet: str, device: str) -> None:
    """Those that repeat the vector and those shorter than it are two kinds; none may touch another."""
    compare(
        content("tiled-long", "signed", alphabet, 0.5, [(5, 120), (1,), (9, 77), (601,), (600,)]),
        "float16",
        device,
    )


def test_nothing_is_read_or_written_outside(device: str) -> None:
    """The same job inside larger buffers whose other bytes are poison, twice with different poison."""
    held = content("tiled", "normal", "ternary", None, [(31, 43)])
    each = held.masked[0]
    expected = reference.reconstruct(held, each, "float16").tobytes()
    table = sources.table_of(held, sources.source_of(held, each))
    assert table is not None
    scale = reference.scale_of(held, each).reshape(-1)
    rank = kernels._rank(torch.from_numpy(each.planes[0]), TILE)
    for poison in (0x00, 0xFF):
        buffers, addresses = [], []
        out = torch.empty(-(-each.numel // 8) * 8, dtype=torch.float16)  # whole rows
        for array in (
            out,
            *map(torch.from_numpy, (*each.planes,)),
            rank,
            torch.from_numpy(scale),
            torch.from_numpy(table),
        ):
            inner = array.contiguous().view(torch.uint8)
            guarded = torch.full((inner.numel() + 128,), poison, dtype=torch.uint8)
            guarded[64 : 64 + inner.numel()] = inner
            buffers.append((guarded.clone().to(device), guarded, inner.numel()))
            addresses.append(buffers[-1][0].data_ptr() + 64)
        fields = [*addresses, 0, each.numel, 43, 23, 0, 0, 0, 0]
        kernels.launcher(np.array([fields]), ("tiled", "ternary", "wide"), "float16", torch.device(device))()
        for at, (after, before, size) in enumerate(buffers):
            now = after.cpu()
            assert torch.equal(now[:64], before[:64])
            assert torch.equal(now[64 + size :], before[64 + size :])
            if at == 0:
                assert bytes(now[64 : 64 + len(expected)].numpy()) == expected
            else:
                assert torch.equal(now, before)


@pytest.mark.parametrize("dtype", list(DTYPES))
@pytest.mark.filterwarnings("ignore:overflow encountered")
def test_every_kind_of_float_is_rounded_as_numpy_rounds(dtype: str, device: str) -> None:
    """Subnormals, ties, overflow to infinity and both zeros."""
    patterns = np.arange(0, 1 << 32, 6_553_577, dtype=np.uint64).astype(np.uint32)
    ties = (np.arange(0x3F80, 0x3FC0, dtype=np.uint32) << np.uint32(16)) | np.uint32(0x8000)
    values = np.concatenate([patterns, ties, ties & np.uint32(0xFFFFF000) | np.uint32(0x1000)]).view(np.float32)
    values = np.append(values[np.isfinite(values)], np.float32([0.0, -0.0, 65519.9, 65520, 1e-8, 6e-8, 3.4e38]))
    for alphabet, code in (
        ("sign", np.ones(values.size)),
        ("sign", np.zeros(values.size)),
        ("keep", np.zeros(values.size)),
    ):
        each = MaskedTensor("w", (values.size,), 0, 0, alphabet, np.float32(1.0), planes=(pack(code != 0),))
        compare(Content(0, (Prototype(values.size, "float32", values),), (each,)), dtype, device)


@triton.jit
def drawn(numbers, out):  # type: ignore[no-untyped-def]
    found = block_words(tl.load(numbers), tl.load(numbers + 1), tl.load(numbers + 2), 16)
    tl.store(out + tl.arange(0, 64), found.to(tl.int32, bitcast=True))


@pytest.mark.parametrize(
    ("seed", "stream", "block"),
    [(SEED, 5, 0), (7, (1 << 33) + 3, (1 << 34) + 16), ((1 << 64) - 1, (1 << 62) + 1, 1 << 32)],
)
def test_words_far_along_a_stream(seed: int, stream: int, block: int, device: str) -> None:
    """Block numbers and streams beyond 32 bits, a seed of 64."""
    out = torch.zeros(64, dtype=torch.int32, device=device)
    drawn[(1,)](torch.tensor([seed - (seed >> 63 << 64), stream, block], device=device), out)
    assert out.cpu().numpy().view(np.uint32).tolist() == words(seed, stream, 4 * block, 64).tolist()


def test_a_ragged_tensor_is_part_of_whole_rows(device: str) -> None:
    held = content("own", "signed", "keep", 0.1, [(1, 7), (8,)])
    ragged, whole = kernels.reconstruct_many(held, held.masked, device, torch.float16)
    assert ragged.is_contiguous()
    assert ragged.untyped_storage().nbytes() == whole.untyped_storage().nbytes() == 16


def test_known_answer_proves_the_device(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "TILES", sources.TILES)
    assert differences(torch.device(device)) == ""


def test_what_the_kernel_does_not_take(device: str) -> None:
    held = content("own", "signed", "keep", 0.1, [(4, 3)])
    with pytest.raises(PemnError, match=r"rebuilt as torch\.float32, .*found torch\.float64"):
        kernels.reconstruct_many(held, held.masked, device, torch.float64)
    endless = Content(0, (Prototype(1 << 30, "normal"),), (MaskedTensor("w", (1 << 31,), 0, 0, "keep", np.float32(1)),))
    assert not kernels.supports(endless, endless.masked[0])
