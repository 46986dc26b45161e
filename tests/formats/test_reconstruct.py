from __future__ import annotations

import hashlib
import itertools
import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from samples import FLOATS, SAMPLES, contents, dense, masked_tensor, random_bits

from pemn_formats.content import ALPHABETS, BN_SUFFIXES, DTYPES, EXPLICIT_SOURCES, Content, MaskedTensor, Prototype
from pemn_formats.errors import PemnError
from pemn_formats.fills import PERMUTATION_STREAM, permute
from pemn_formats.reconstruct import base, codes, reconstruct, residual_state, scale_of, state, unfold_bn
from pemn_formats.rounding import OUTPUT_DTYPES, narrow
from pemn_formats.values import DISTRIBUTIONS, unit_values

HASHES = Path(__file__).with_name("reconstruct_hashes.json")
FILLS = {"full": (105, 0), "tiled": (7, 0), "permuted": (7, 120), "longer": (120, 120)}
SCALES = {"tensor": np.float32(0.1), "negative": np.float32(-0.1), "zero": np.float32(0.0), "channel": None}


def matrix_content(fill: str, alphabet: str, source: str, scale: str) -> Content:
    """A 3 x 5 x 7 tensor beside a larger one, which allows a span that reaches beyond it."""
    length, span = FILLS[fill]
    bits = random_bits(105, 0.5, 20)
    tensor = masked_tensor(
        "w",
        (3, 5, 7),
        bits,
        alphabet=alphabet,
        span=span,
        scale=SCALES[scale],
        negative=random_bits(int(bits.sum()), 0.5, 21),
    )
    values = None
    if source in EXPLICIT_SOURCES:
        values = unit_values("normal", 6, 99, 0, length).astype(DTYPES[source])
        values[::5] = 0
    other = masked_tensor("larger", (120,), random_bits(120, 0.5, 22))
    residual = () if SCALES[scale] is not None else (dense("w", [0.3, -0.7, 1e-39], "float32", "scale"),)
    return Content(77, (Prototype(length, source, values),), (tensor, other), residual)


MATRIX = ["/".join(each) for each in itertools.product(FILLS, ALPHABETS, DISTRIBUTIONS + EXPLICIT_SOURCES, SCALES)]


def hash_of(case: str, dtype: str) -> str:
    content = matrix_content(*case.split("/"))
    found = reconstruct(content, content.masked[0], dtype)
    return hashlib.sha256(found.astype(found.dtype.newbyteorder("<")).tobytes()).hexdigest()


def test_golden_hashes_of_every_fill_alphabet_source_scale_and_dtype() -> None:
    """The file was written once by this very loop; what it holds for a case never changes."""
    golden = json.loads(HASHES.read_text())
    found = {f"{case}/{dtype}": hash_of(case, dtype)[:16] for case in MATRIX for dtype in OUTPUT_DTYPES}
    assert found == golden
    assert len(set(found.values())) > 400  # cases may agree (a zero scale), but most must differ


@pytest.mark.parametrize("case", MATRIX)
def test_the_line_element_by_element(case: str) -> None:
    """w[i] = select(code[i], scale * base[i]), in float32 one weight after the other."""
    content = matrix_content(*case.split("/"))
    tensor, prototype = content.masked[0], content.prototypes[0]
    places = np.arange(105, dtype=np.int64)
    if tensor.span:
        places = permute(places, content.seed, PERMUTATION_STREAM, tensor.span)
    found = reconstruct(content, tensor)
    assert found.dtype == np.float32
    assert found.shape == (3, 5, 7)
    values = prototype.values
    if values is None:
        values = unit_values(prototype.source, content.seed, 0, 0, prototype.length)
    bits = np.unpackbits(tensor.planes[0], bitorder="little")[:105]
    signs = iter(np.unpackbits(tensor.planes[-1], bitorder="little"))
    scales = content.residual[0].values if tensor.scale is None else [tensor.scale] * 3
    for i, weight in enumerate(found.reshape(-1)):
        value = np.float32(values[places[i] % prototype.length]) * scales[i // 35]
        if tensor.alphabet == "keep":
            expected = value if bits[i] else np.float32(0)
        elif tensor.alphabet == "sign":
            expected = value if bits[i] else -value
        else:
            expected = (-value if next(signs) else value) if bits[i] else np.float32(0)
        assert weight.tobytes() == expected.tobytes(), i


@pytest.mark.parametrize("dtype", OUTPUT_DTYPES)
@pytest.mark.parametrize("case", MATRIX)
def test_narrow_types_round_the_float32_result_once_and_what_is_dropped_is_plus_zero(case: str, dtype: str) -> None:
    content = matrix_content(*case.split("/"))
    tensor = content.masked[0]
    exact = reconstruct(content, tensor)
    found = reconstruct(content, tensor, dtype)
    assert found.dtype == {"float32": np.float32, "float16": np.float16, "bfloat16": np.uint16}[dtype]
    assert found.tobytes() == narrow(exact, dtype).tobytes()
    if tensor.alphabet != "sign":
        dropped = found.reshape(-1)[codes(tensor) == 0]
        assert dropped.size > 30
        assert not dropped.view(np.uint16 if dtype != "float32" else np.uint32).any()


def tiny(alphabet: str, planes: list[list[int]], kept: int | None = None) -> Content:
    packed = tuple(np.array(each, np.uint8) for each in planes)
    tensor = MaskedTensor("w", (2, 2), 0, 0, alphabet, np.float32(0.5), kept, packed)
    return Content(0, (Prototype(3, "float32", np.array([1, -2, 4], "<f4")),), (tensor,))


@pytest.mark.parametrize(
    ("content", "weights", "found_codes"),
    [
        (tiny("keep", [[0b0110]]), [[0.0, -1.0], [2.0, 0.0]], [0, 1, 1, 0]),
        (tiny("sign", [[0b0110]]), [[-0.5, -1.0], [2.0, -0.5]], [0, 1, 1, 0]),
        (tiny("ternary", [[0b1110], [0b101]], 3), [[0.0, 1.0], [2.0, -0.5]], [0, -1, 1, -1]),
        (tiny("ternary", [[0], []], 0), [[0.0, 0.0], [0.0, 0.0]], [0, 0, 0, 0]),
    ],
)
def test_examples_by_hand(content: Content, weights: list[list[float]], found_codes: list[int]) -> None:
    (tensor,) = content.masked
    found = reconstruct(content, tensor)
    assert found.tolist() == weights
    assert not np.signbit(found[found == 0]).any()
    assert codes(tensor).tolist() == found_codes
    assert codes(tensor).dtype == np.int8
    assert base(content, tensor).tolist() == [1.0, -2.0, 4.0, 1.0]


def test_a_scale_that_overflows_gives_infinity_in_silence() -> None:
    content = tiny("keep", [[0b0110]])
    large = Content(0, content.prototypes, (MaskedTensor(**{**vars(content.masked[0]), "scale": np.float32(3e38)}),))
    assert reconstruct(large, large.masked[0]).tolist() == [[0.0, -math.inf], [math.inf, 0.0]]
    assert reconstruct(large, large.masked[0], "float16").tolist() == [[0.0, -math.inf], [math.inf, 0.0]]


def test_what_is_missing_is_named() -> None:
    content = tiny("keep", [[0b0110]])
    (tensor,) = content.masked
    empty = Content(0, (Prototype(3, "float16"),), (tensor,))
    with pytest.raises(PemnError, match=r"^prototype 0 holds explicit float16 values, but none were given$"):
        reconstruct(empty, tensor)
    unscaled = MaskedTensor(**{**vars(tensor), "scale": None})
    with pytest.raises(PemnError, match=r"^w has channel scales, but none are stored$"):
        scale_of(content, unscaled)
    with pytest.raises(PemnError, match=r"^unknown output dtype"):
        reconstruct(content, tensor, "float64")


def test_residual_entries_keep_their_types_and_narrow_floats_widen() -> None:
    content = SAMPLES["every_dtype"]()
    found = residual_state(content)
    for entry in content.residual:
        if entry.kind == "dense":
            widened = entry.dtype in FLOATS
            assert found[entry.name].shape == entry.shape
            assert found[entry.name].dtype == (np.float32 if widened else DTYPES[entry.dtype])
        elif entry.kind == "bn":
            assert [found[name].shape for name in entry.state_names] == [entry.shape[1:]] * 4 + [()]
    assert set(found) == {name for entry in content.residual for name in entry.state_names}
    values = {"a": dense("a", [0x3F80, 0xC000], "bfloat16"), "b": dense("b", [0.5, -(2.0**-24)], "float16")}
    assert residual_state(Content(0, (), (), (values["a"],)))["a"].tolist() == [1.0, -2.0]
    assert residual_state(Content(0, (), (), (values["b"],)))["b"].tolist() == [0.5, -(2.0**-24)]


def test_layers_in_8_bits_are_values_times_the_scale_of_their_channel() -> None:
    content = SAMPLES["int8_layers"]()
    (layer,) = [entry for entry in content.residual if entry.kind == "int8"]
    (scale,) = [entry for entry in content.residual if entry.kind == "scale" and entry.name == layer.name]
    found = residual_state(content)[layer.name]
    expected = [
        [np.float32(value) * np.float32(each) for value in row.reshape(-1)]
        for row, each in zip(layer.values, scale.values, strict=True)
    ]
    assert found.shape == layer.shape
    assert found.reshape(2, -1).tolist() == expected


@given(st.floats(0, 1, exclude_max=True, width=32))
def test_an_unfolded_batch_norm_is_exactly_its_affine_map(eps: float) -> None:
    scale, shift, mean, variance, batches = unfold_bn(dense("n", [[2.0, -3.0], [0.5, 0.0]], "float32", "bn", eps))
    assert (scale.tolist(), shift.tolist(), mean.tolist()) == ([2.0, -3.0], [0.5, 0.0], [0.0, 0.0])
    assert (variance + np.float32(eps)).tolist() == [1.0, 1.0]
    assert {each.dtype for each in (scale, shift, mean, variance)} == {np.dtype(np.float32)}
    assert (batches.dtype, batches.shape, int(batches)) == (np.int64, (), 0)
    assert len(BN_SUFFIXES) == 5


@pytest.mark.parametrize("eps", [0.0, 1e-3, 1e-5, 1e-6, 1e-8, 1e-12, 1e-1, 0.5, np.nextafter(np.float32(1), 0)])
def test_variance_plus_the_usual_eps_is_one(eps: float) -> None:
    *_, variance, _ = unfold_bn(dense("n", [[1.0], [0.0]], "float16", "bn", eps))
    assert (variance + np.float32(eps)).tolist() == [1.0]


@given(contents())
def test_the_state_holds_every_name_once(content: Content) -> None:
    found = state(content)
    stored = [tensor.name for tensor in content.masked] + [n for e in content.residual for n in e.state_names]
    assert sorted(found) == sorted([*stored, *content.aliases])
    for tensor in content.masked:
        assert found[tensor.name].shape == tensor.shape
    for alias, target in content.aliases.items():
        assert found[alias] is found[target]


def test_bundles_and_patches_have_no_state() -> None:
    with pytest.raises(PemnError, match=r"^the file is a bundle; choose one of its tasks .*: first, second$"):
        state(SAMPLES["bundle"]())
    with pytest.raises(PemnError, match=r"^the file is a delta of content [0-9a-f]{64}, no model"):
        state(SAMPLES["patch"]())
