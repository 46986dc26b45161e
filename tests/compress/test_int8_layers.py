"""Layers that stay dense and are stored in eight bits: which ones, how they round, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import pemn_compress as pemn
from pemn_compress.equality import check_equal
from pemn_compress.layers import choose_layers
from pemn_compress.saving import to_content
from pemn_compress.stored import int8_entries
from pemn_compress.train.run_config import RunConfig
from pemn_compress.train.size_estimate import count_masks, estimate_bytes
from pemn_formats.errors import PemnError
from pemn_formats.writer import encode


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(32, 10)
    ).eval()


def masked(*layers: str, **options: object) -> nn.Module:
    return pemn.mask_(net(), pemn.MaskConfig(int8_layers=layers, **options))  # type: ignore[arg-type]


def kinds(content: object) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for entry in content.residual:  # type: ignore[attr-defined]
        found.setdefault(entry.kind, []).append(entry.name)
    return found


@pytest.mark.parametrize(
    ("names", "paths"),
    [
        (("first",), ["0"]),
        (("last",), ["5"]),
        (("first", "last"), ["0", "5"]),
        (("2", "first"), ["2", "0"]),
        (("0", "first"), ["0"]),
        ((), []),
    ],
)
def test_layers_by_name(names: tuple[str, ...], paths: list[str]) -> None:
    model = net()
    assert list(choose_layers(model, names)) == paths
    if paths:
        untouched = {path: model.get_submodule(path).weight.clone() for path in paths}
        pemn.mask_(model, pemn.MaskConfig(int8_layers=names))
        assert list(choose_layers(model, names)) == paths, "masks change no name"
        for path, weight in untouched.items():
            assert torch.equal(model.get_submodule(path).weight, weight)


def test_a_layer_called_first_is_meant_by_its_name() -> None:
    model = nn.ModuleDict({"a": nn.Linear(2, 2), "first": nn.Linear(2, 2)})
    assert list(choose_layers(model, ["first"])) == ["first"]


def test_the_layers_of_a_compiled_model_have_their_own_names() -> None:
    assert list(choose_layers(torch.compile(net()), ["last"])) == ["5"]


@pytest.mark.parametrize(
    ("model", "names", "message"),
    [
        (net(), ["6"], "the model has no layer '6'.*; use first, last or one of: 0, 2, 5"),
        (net(), ["1"], "no layer '1'"),
        (nn.ModuleDict({"head": nn.Linear(2, 2)}), ["haed"], r"no layer 'haed' \(did you mean 'head'\?\)"),
        (nn.ReLU(), ["first"], "no layer 'first'; use first, last or one of: none"),
        (net(), "first", "layers are given as a list of names, found 'first'"),
    ],
)
def test_names_of_no_layer(model: nn.Module, names: list[str], message: str) -> None:
    with pytest.raises(PemnError, match=message):
        choose_layers(model, names)


@pytest.mark.parametrize("given", ["first", 3, [1], None])
def test_the_configuration_wants_a_list(given: object) -> None:
    with pytest.raises(PemnError, match="int8_layers must be a list of names of layers"):
        pemn.MaskConfig(int8_layers=given)  # type: ignore[arg-type]


def test_the_configuration_survives_json() -> None:
    config = pemn.MaskConfig(int8_layers=["first", "last"])
    assert config.int8_layers == ("first", "last")
    assert pemn.MaskConfig.from_dict({**config.to_dict(), "int8_layers": ["first", "last"]}) == config
    run = RunConfig.from_options({"int8_layers": ("last",)})
    assert RunConfig.from_options(run.to_options()) == run
    assert run.mask is not None
    assert run.mask.int8_layers == ("last",)


def test_nothing_left_to_mask() -> None:
    with pytest.raises(PemnError, match=r"nothing to mask: .*; int8_layers left out all 3"):
        masked("0", "2", "5")
    with pytest.raises(PemnError, match="filter_fn and int8_layers left out all 3"):
        pemn.mask_(net(), pemn.MaskConfig(int8_layers=["0"]), filter_fn=lambda path, module: path == "0")


@pytest.mark.parametrize("dtype", ["float16", "float32", "log8"])
def test_a_model_remembers_its_layers_when_saved(dtype: str) -> None:
    model = masked("first", "last")
    content = to_content(model, residual_dtype=dtype)
    check_equal(model, content)
    assert kinds(content)["int8"] == kinds(content)["scale"] == ["0.weight", "5.weight"]
    assert [tensor.name for tensor in content.masked] == ["2.weight"]
    loaded = pemn.load_model(encode(content), into=net())
    for name in ("0", "5"):
        weight, found = model.get_submodule(name).weight.detach(), loaded.get_submodule(name).weight.detach()
        most = weight.flatten(1).abs().amax(1)
        off = (weight - found).flatten(1).abs().amax(1)
        assert (off <= most / 127 * 0.55).all()
        assert (found.flatten(1).abs().amax(1) - most).abs().max() <= most.max() * 2**-10


def test_other_layers_can_be_chosen_when_saving(tmp_path: Path) -> None:
    model = pemn.mask_(net(), filter_fn=lambda path, module: path == "2")
    assert "int8" not in kinds(to_content(model))
    assert kinds(to_content(model, int8_layers=["last"]))["int8"] == ["5.weight"]
    assert "int8" not in kinds(to_content(masked("first"), int8_layers=()))
    small = pemn.save_model(model, tmp_path / "a.pemn", int8_layers=["first", "last"])
    assert small.residual_by_kind == {"int8 layers": 8 * 9 + 2 * 8 + 320 + 2 * 10, "bias": 2 * (8 + 8 + 10)}
    assert small.dense_float32 == 4 * sum(value.numel() for value in net().parameters())


def test_attention_is_chosen_as_a_whole() -> None:
    model = nn.ModuleDict({"attention": nn.MultiheadAttention(8, 2), "head": nn.Linear(8, 2)})
    content = to_content(pemn.mask_(model, pemn.MaskConfig(int8_layers=["attention"])))
    assert kinds(content)["int8"] == ["attention.in_proj_weight"]


def test_a_tied_weight_is_stored_once() -> None:
    model = nn.ModuleDict(
        {"embed": nn.Embedding(10, 6), "middle": nn.Linear(6, 6), "head": nn.Linear(6, 10, bias=False)}
    )
    model["head"].weight = model["embed"].weight  # type: ignore[union-attr]
    content = to_content(pemn.mask_(model, pemn.MaskConfig(int8_layers=["head"])))
    assert kinds(content)["int8"] == ["embed.weight"]
    assert content.aliases == {"head.weight": "embed.weight"}
    loaded = pemn.load_file(encode(content))
    assert torch.equal(loaded["head.weight"], loaded["embed.weight"])


def test_masked_layers_are_refused() -> None:
    with pytest.raises(PemnError, match=r"5 is masked or otherwise computed.*MaskConfig\(int8_layers=...\)"):
        to_content(pemn.mask_(net()), int8_layers=["last"])


def test_lossless_rounds_nothing() -> None:
    assert "int8" not in kinds(to_content(masked("first"), lossless=True))
    with pytest.raises(PemnError, match="int8_layers rounds first, and lossless rounds nothing"):
        to_content(masked("first"), lossless=True, int8_layers=["first"])


def test_weights_that_are_not_finite_are_refused() -> None:
    model = masked("last")
    model[5].weight.data[0, 0] = float("nan")  # type: ignore[index, union-attr]
    with pytest.raises(PemnError, match=r"5\.weight holds values that are not finite"):
        to_content(model)


@given(
    st.lists(st.lists(st.floats(-1e4, 1e4), min_size=3, max_size=3), min_size=1, max_size=5),
    st.sampled_from(["float16", "float32", "log8"]),
)
def test_every_weight_goes_to_the_nearest_step_of_its_channel(rows: list[list[float]], dtype: str) -> None:
    values = np.array(rows)
    integers, scales = int8_entries("w", values, dtype)
    assert (np.abs(integers.values.astype(int)) <= 127).all()
    scale = scales.values.astype(np.float64)[:, None]
    most = np.abs(values).max(axis=1, keepdims=True)
    # A scale may be rounded down by 1 %, which clips the largest weight by as much.
    assert (np.abs(integers.values * scale - values) <= 0.5 * scale + 0.0101 * most + 2.0**-126).all()
    assert (scale[most == 0] == 0).all()


@pytest.mark.parametrize(
    ("largest", "dtype"), [(1.0, "float16"), (1e-3, "float16"), (1e-6, "float32"), (1e7, "float32"), (0.0, "float16")]
)
def test_scales_that_float16_cannot_hold_are_float32(largest: float, dtype: str) -> None:
    integers, scales = int8_entries("w", np.array([[1.0, 0.5], [largest, 0.0]]), "float16")
    assert scales.dtype == dtype
    assert integers.values.tolist() == [[127, 64], [127 if largest else 0, 0]]


def test_the_size_is_foreseen(tmp_path: Path) -> None:
    model = pemn.mask_(
        nn.Sequential(nn.Linear(300, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10)),
        pemn.MaskConfig(int8_layers=["first", "last"]),
    )
    foreseen = estimate_bytes(model, count_masks(model))
    assert pemn.save_model(model, tmp_path / "m.pemn").file_bytes == pytest.approx(foreseen, rel=0.05)
