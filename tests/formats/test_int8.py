"""Layers in eight bits: a golden reconstruction, what the ledger counts, and every way that a file can be wrong."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from forge import Forge
from hypothesis import given
from hypothesis import strategies as st
from samples import dense, one_tensor
from two_readers import read

from pemn_formats.content import Content, ResidualTensor
from pemn_formats.errors import FormatError, PemnError
from pemn_formats.reader import Reader
from pemn_formats.reconstruct import residual_state, state
from pemn_formats.writer import content_id, encode


def layer(integers: object = ((127, -127, 3), (0, 1, -1)), scales: object = (0.1, -0.5), **given: str) -> Content:
    """One masked tensor, and a layer `r` of 8-bit integers with its scales."""
    weight = dense("r", integers, "int8", "int8")
    held = dense("r", scales, given.get("dtype", "float32"), "scale")
    return replace(one_tensor(), residual=(weight, held))


def test_a_weight_is_the_integer_times_the_scale_of_its_channel() -> None:
    found = residual_state(read(encode(layer())))["r"]
    tenth = np.float32(0.1)
    expected = [[127 * tenth, -127 * tenth, 3 * tenth], [-0.0, -0.5, 0.5]]
    assert found.dtype == np.float32
    assert found.tobytes() == np.array(expected, np.float32).tobytes()


@given(st.lists(st.integers(-127, 127), min_size=1, max_size=12), st.floats(-(2.0**127), 2.0**127, width=32))
def test_one_float32_multiplication_in_any_shape(integers: list[int], scale: float) -> None:
    content = layer([[[each] for each in integers]], [scale])
    found = residual_state(read(encode(content)))["r"]
    with np.errstate(over="ignore"):
        expected = np.array(integers, np.float64) * np.float64(scale)
        assert found.reshape(-1).tobytes() == expected.astype(np.float32).tobytes()
    assert found.shape == (1, len(integers), 1)
    assert content_id(read(encode(content))) == content_id(content)


def test_an_alias_of_the_layer_shares_its_weights() -> None:
    content = replace(layer(), aliases={"tied": "r"})
    found = state(read(encode(content)))
    assert found["tied"] is found["r"]


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_the_ledger_counts_integers_and_scales_as_one_kind(dtype: str) -> None:
    with Reader.open(encode(layer(dtype=dtype))) as reader:
        ledger = reader.ledger()
    width = {"float32": 4, "float16": 2}[dtype]
    assert ledger.residual_by_kind == {"int8 layers": 6 + 2 * width}
    assert (ledger.dense_float32, ledger.dense_float16) == (4 * (24 + 6), 2 * (24 + 6))


def test_channel_scales_of_masks_stay_apart() -> None:
    base = layer()
    tensor = replace(base.masked[0], shape=(3, 8), scale=None)
    content = replace(base, masked=(tensor,), residual=(*base.residual, dense("w", [1, 2, 3], kind="scale")))
    with Reader.open(encode(content)) as reader:
        assert reader.ledger().residual_by_kind == {"int8 layers": 14, "channel scales": 12}


def test_minus_128_is_refused() -> None:
    content = layer()
    values = content.residual[0].values.copy()
    values[0, 0] = -128
    bad = replace(content, residual=(replace(content.residual[0], values=values), content.residual[1]))
    with pytest.raises(PemnError, match="'r' holds -128, expected -127 to 127"):
        encode(bad)
    forged = Forge.of(encode(content))
    piece = forged.sections[2][0]
    piece.codec, piece.data = 0, values.tobytes() + content.residual[1].values.tobytes()
    with pytest.raises(FormatError, match="'r' holds -128, expected -127 to 127"):
        read(forged.build())


def test_scales_that_are_not_finite_are_refused() -> None:
    with pytest.raises(PemnError, match="the scale of 'r' holds values that are not finite"):
        encode(layer(scales=(1.0, np.inf)))


def entry(kind: str, shape: tuple[int, ...], dtype: str) -> ResidualTensor:
    return dense("r", np.zeros(shape), dtype, kind)


@pytest.mark.parametrize(
    ("residual", "message"),
    [
        ([entry("int8", (2, 3), "int8")], r"'r' is stored in 8 bits without channel scales \[2\]"),
        (
            [entry("int8", (2, 3), "int8"), entry("scale", (3,), "float16")],
            r"'r' is stored in 8 bits without channel scales \[2\]",
        ),
        ([entry("int8", (2, 3), "uint8"), entry("scale", (2,), "float16")], "holds uint8, expected int8"),
        ([entry("int8", (2, 3), "float16"), entry("scale", (2,), "float16")], "holds float16, expected int8"),
        ([entry("int8", (2, 3), "int8"), entry("scale", (2,), "int8")], "holds int8, expected a floating type"),
        ([entry("int8", (), "int8"), entry("scale", (), "float16")], "must have 1 to 8 dimensions"),
        ([entry("int8", (0, 3), "int8"), entry("scale", (0,), "float16")], "a dimension of 'r' is 0"),
        ([entry("scale", (2,), "float16")], "'r', which is no masked tensor and not in 8 bits"),
        (
            [entry("int8", (2, 3), "int8"), entry("dense", (2, 3), "int8"), entry("scale", (2,), "float16")],
            "the tensor 'r' is stored twice",
        ),
    ],
)
def test_contradictions_are_refused(residual: list[ResidualTensor], message: str) -> None:
    with pytest.raises(PemnError, match=message):
        encode(replace(one_tensor(), residual=tuple(residual)))
    plain = [replace(each, name=f"r{at}", kind="dense") for at, each in enumerate(residual)]
    forged = Forge.of(encode(replace(one_tensor(), residual=tuple(plain))))
    columns = forged.manifest["residual"]
    columns["kinds"], columns["names"] = [each.kind for each in residual], ["r"] * len(residual)
    with pytest.raises(FormatError, match=message):
        read(forged.build())


def test_a_masked_tensor_cannot_be_in_8_bits_too() -> None:
    weight, scales = layer().residual
    with pytest.raises(PemnError, match="the tensor 'w' is stored twice"):
        encode(replace(one_tensor(), residual=(replace(weight, name="w"), replace(scales, name="w"))))
