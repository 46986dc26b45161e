from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from samples import random_bits

from pemn_formats import expand, value_blocks
from pemn_formats.bits import pack
from pemn_formats.content import ALPHABETS, Content, MaskedTensor, Prototype, ResidualTensor
from pemn_formats.errors import PemnError
from pemn_formats.expand import expand_into
from pemn_formats.reconstruct import reconstruct
from pemn_formats.rounding import OUTPUT_DTYPES
from pemn_formats.values import DISTRIBUTIONS, unit_values

ARRAYS = {"float32": np.float32, "float16": np.float16, "bfloat16": np.uint16}
SHAPES = [(1,), (8,), (5, 13), (3, 171), (57, 1, 3, 3)]


pytestmark = pytest.mark.usefixtures("both_ways")


@pytest.fixture
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks and jobs so small that small tensors have many, and a last one of every length."""
    for module in (expand, value_blocks):
        monkeypatch.setattr(module, "BLOCK", 64)
    monkeypatch.setattr(expand, "_SIGNS_AT_ONCE", 128)
    monkeypatch.setattr(expand, "_JOB", 256)
    monkeypatch.setattr(value_blocks, "_SHORT", 40)


def tensor(
    shape: tuple[int, ...], alphabet: str, *, prototype: int = 0, span: int = 0, scale: Any = 0.37
) -> MaskedTensor:
    count = math.prod(shape)
    code = random_bits(count, 0.6, seed=count)
    planes = [pack(code)]
    kept = int(code.sum()) if alphabet == "ternary" else None
    if kept is not None:
        planes.append(pack(random_bits(kept, 0.5, seed=count + 1)))
    scale = None if scale is None else np.float32(scale)
    return MaskedTensor("w", shape, prototype, span, alphabet, scale, kept, planes=tuple(planes))


def expanded(content: Content, found: MaskedTensor, dtype: str, threads: int = 1) -> np.ndarray:
    out = np.full(found.shape, 7, dtype=ARRAYS[dtype])
    expand_into(content, [(found, out)], threads=threads)
    return out


@pytest.mark.parametrize("alphabet", ALPHABETS)
@pytest.mark.parametrize("dtype", ARRAYS)
def test_an_array_may_begin_at_any_byte(dtype: str, alphabet: str) -> None:
    found = tensor((5, 13), alphabet)
    content = Content(7, (Prototype(65, "signed"),), (found,))
    out = np.zeros(65 * np.dtype(ARRAYS[dtype]).itemsize + 1, np.uint8)[1:].view(ARRAYS[dtype])
    assert not out.flags.aligned
    expand_into(content, [(found, out)])
    assert out.tobytes() == expanded(content, found, dtype).tobytes()


@pytest.mark.usefixtures("small_steps")
@pytest.mark.parametrize("alphabet", ALPHABETS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_every_way_gives_the_bytes_of_the_reference(shape: tuple[int, ...], alphabet: str) -> None:
    count = math.prod(shape)
    explicit = unit_values("normal", 3, 3, 0, 2 * count + 100)
    for source, length, spanned, channel in itertools.product(
        (*DISTRIBUTIONS, "float16"), (37, 41, count, 2 * count + 100), (False, True), (False, True)
    ):
        values = explicit[:length].astype(source) if source.startswith("float") else None
        entries: tuple[ResidualTensor, ...] = ()
        if channel:
            scales = np.linspace(-1.7, 1.3, shape[0]).astype(np.float16)
            entries = (ResidualTensor("w", scales.shape, "scale", "float16", values=scales),)
        found = tensor(shape, alphabet, span=count + 11 if spanned else 0, scale=None if channel else -0.37)
        content = Content(9, (Prototype(length, source, values),), (found,), entries)
        for dtype in OUTPUT_DTYPES:
            expected = reconstruct(content, found, dtype)
            assert expanded(content, found, dtype).tobytes() == expected.tobytes(), (source, length, spanned, channel)


@pytest.mark.parametrize("alphabet", ALPHABETS)
@pytest.mark.parametrize("length", [251, 4_200_003])
def test_steps_as_they_are(alphabet: str, length: int) -> None:
    found = tensor((4_200_003,), alphabet)
    content = Content(5, (Prototype(length, "signed"),), (found,))
    for threads in (1, 3):
        assert expanded(content, found, "float32", threads).tobytes() == reconstruct(content, found).tobytes()


@pytest.mark.usefixtures("small_steps")
def test_threads_share_the_tensors() -> None:
    content = Content(5, (Prototype(3000, "signed"), Prototype(17, "normal"), Prototype(999, "uniform")), ())
    found = [
        tensor((count,), alphabet, prototype=prototype)
        for count, alphabet, prototype in itertools.product((1, 255, 256, 257, 2999), ALPHABETS, range(3))
    ]
    outs = [np.empty(each.shape, np.float32) for each in found]
    expand_into(content, zip(found, outs, strict=True), threads=4)
    for each, out in zip(found, outs, strict=True):
        assert out.tobytes() == reconstruct(content, each).tobytes()


def test_a_value_beyond_float32_becomes_infinite_without_a_warning() -> None:
    found = tensor((64,), "keep", scale=3e38)
    values = np.full(3, 3e38, np.float32)
    content = Content(0, (Prototype(3, "float32", values),), (found,))
    assert np.isinf(expanded(content, found, "float32")).any()


def test_infinities_of_narrow_types_too() -> None:
    found = tensor((64,), "sign", scale=1e6)
    content = Content(0, (Prototype(64, "signed"),), (found,))
    assert expanded(content, found, "float16").tobytes() == reconstruct(content, found, "float16").tobytes()


@pytest.mark.parametrize(
    "out",
    [np.empty(64, np.float64), np.empty(63, np.float32), np.empty((64, 2), np.float32)[:, 0]],
    ids=["dtype", "size", "strides"],
)
def test_arrays_that_do_not_fit(out: np.ndarray) -> None:
    content = Content(0, (Prototype(64, "signed"),), ())
    with pytest.raises(PemnError, match=r"w needs a contiguous array of 64 values in float32, .*found 6[34] of float"):
        expand_into(content, [(tensor((64,), "keep"), out)])
