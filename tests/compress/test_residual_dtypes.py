"""What rounding the residual to float16, float32 or log8 keeps, and what it takes in bytes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import pemn_compress as pemn
from pemn_compress.equality import check_equal
from pemn_compress.models import build
from pemn_compress.residual import RESIDUAL_DTYPES, fold_bn
from pemn_compress.saving import to_content
from pemn_compress.stored import stored_entry
from pemn_formats.content import ResidualTensor
from pemn_formats.errors import PemnError
from pemn_formats.reconstruct import float_values, state
from pemn_formats.writer import encode

STEP = 0.025
"""Half a step of shift 2, and a little: what values lose that lie within eight octaves."""


def lively(model: nn.Module, seed: int = 0) -> nn.Module:
    """Give what is not masked values that an untrained net would not have."""
    generator = torch.Generator().manual_seed(seed)
    for name, value in model.state_dict(keep_vars=True).items():
        if value.is_floating_point() and "parametrizations" not in name:
            value.data.copy_(torch.rand(value.shape, generator=generator) + 0.1)
    return model.eval()


def net(**options: object) -> nn.Module:
    model = build("convmixer", dim=16, depth=2, kernel=3, patch=2, channels=1)
    return lively(pemn.mask_(model, pemn.MaskConfig(**options)))  # type: ignore[arg-type]


@pytest.mark.parametrize("dtype", RESIDUAL_DTYPES)
@pytest.mark.parametrize("scale", ["tensor", "channel"])
@pytest.mark.parametrize("name", ["convmixer", "resnet", "vit", "mlp"])
def test_every_model_loads_back_as_it_was_rounded(name: str, scale: str, dtype: str) -> None:
    small = {"convmixer": {"dim": 16, "depth": 1}, "resnet": {"width": 4}, "vit": {"dim": 16, "depth": 1}, "mlp": {}}
    model = lively(pemn.mask_(build(name, **small[name]), pemn.MaskConfig(scale=scale)))
    content = to_content(model, residual_dtype=dtype)
    check_equal(model, content)
    on_torch, in_numpy = pemn.load_file(encode(content)), state(content)
    assert {name: value.numpy().tobytes() for name, value in on_torch.items()} == {
        name: value.tobytes() for name, value in in_numpy.items()
    }


def test_log8_halves_float16_but_for_five_bytes_a_vector() -> None:
    half = {(e.kind, e.name): e for e in to_content(net(), residual_dtype="float16").residual}
    byte = {(e.kind, e.name): e for e in to_content(net(), residual_dtype="log8").residual}
    assert half.keys() == byte.keys()
    for key, entry in byte.items():
        assert entry.stored_bytes == half[key].stored_bytes // 2 + 5 * entry.vectors
        found, expected = float_values(entry), float_values(half[key])
        rows = slice(1) if entry.kind == "bn" else ...  # the shift makes up for how the scale was rounded
        np.testing.assert_allclose(found[rows], expected[rows], rtol=STEP, atol=0.005)


@pytest.mark.parametrize(("count", "dtype"), [(0, "float16"), (1, "float16"), (5, "float16"), (6, "log8")])
def test_vectors_too_short_to_gain_stay_float16(count: int, dtype: str) -> None:
    assert stored_entry("x", np.ones(count), "log8").dtype == dtype
    assert stored_entry("x", np.ones((2, count)), "log8", "bn", np.float32(0)).dtype == dtype


def test_log8_rounds_in_any_shape_and_keeps_signs() -> None:
    values = np.linspace(-2, 2, 24).reshape(2, 3, 4)
    entry = stored_entry("x", values, "log8")
    assert entry.shape == (2, 3, 4)
    np.testing.assert_allclose(float_values(entry), values, rtol=STEP)


@pytest.mark.parametrize("dtype", RESIDUAL_DTYPES)
def test_the_shift_is_made_for_the_scale_as_stored(dtype: str) -> None:
    """Where the input has the running mean, the folded layer gives the bias, however the scale was rounded."""
    layer = lively(nn.BatchNorm1d(64)).double()
    layer.running_mean += 100
    entry = fold_bn("bn", layer, dtype)
    scale, shift = float_values(entry).astype(np.float64)
    at_mean = layer.running_mean.numpy() * scale + shift
    slack = {"float32": 2**-24, "float16": 2**-11, "log8": STEP}[dtype]
    assert (np.abs(at_mean - layer.bias.detach().numpy()) <= slack * np.abs(shift)).all()


@pytest.mark.parametrize("dtype", RESIDUAL_DTYPES)
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_finite_is_refused(dtype: str, value: float) -> None:
    with pytest.raises(PemnError, match="x holds values that are not finite"):
        stored_entry("x", np.array([value, 1.0]), dtype)


@pytest.mark.parametrize(
    ("dtype", "count", "value", "message"),
    [
        ("float16", 9, 1e5, "x holds 1e.05, beyond float16; save it with residual_dtype='float32' or lossless"),
        ("float32", 9, 1e39, "x holds 1e.39, beyond float32; save it with lossless"),
        ("log8", 9, 1e39, "x holds 1e.39, beyond log8; save it with lossless"),
        ("log8", 2, 1e5, "x holds 1e.05, beyond float16"),
    ],
)
def test_what_is_too_large_is_refused(dtype: str, count: int, value: float, message: str) -> None:
    with pytest.raises(PemnError, match=message):
        stored_entry("x", np.full(count, value), dtype)


def test_log8_is_chosen_by_name() -> None:
    with pytest.raises(PemnError, match="unknown residual dtype 'log9'; known: float16, float32, log8"):
        to_content(net(), residual_dtype="log9")


def test_lossless_has_no_log8() -> None:
    entries: tuple[ResidualTensor, ...] = to_content(net(), residual_dtype="log8", lossless=True).residual
    assert {entry.dtype for entry in entries} == {"float32", "int64"}
