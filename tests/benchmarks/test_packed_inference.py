"""Layers and networks that run from packed masks, measured in small."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from benchmarks import packed_inference, packed_models
from benchmarks.readme_packed import packed_inference as told
from pemn_compress import PemnError


def test_layers_and_networks_are_measured(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = lambda: nn.Sequential(nn.Conv2d(3, 64, 3), nn.Flatten(), nn.Linear(64 * 36, 64), nn.Linear(64, 9))  # noqa: E731
    monkeypatch.setattr(packed_inference, "MODELS", {"small": (small, 8)})
    monkeypatch.setattr(packed_models, "MODELS", {"small": (small, 8)})
    options = ["--device", "cpu", "--sizes", "128", "--batches", "1", "3", "--repeats", "2"]
    packed_inference.main([*options, "--models", "small", "--out", str(tmp_path / "a.json")])
    found = json.loads((tmp_path / "a.json").read_text())
    assert found["device"] == "cpu"
    assert found["environment"]["hardware"]["gpu"] is None or torch.cuda.is_available()
    assert {(layer["case"], layer["batch"]) for layer in found["layers"]} == {
        (case, batch) for case in packed_inference.CASES for batch in (1, 3)
    }
    for layer in found["layers"]:
        assert layer["bytes"] == {"packed": layer["bytes"]["packed"], "dense float16": 2 * 128 * 128}
        assert layer["packed_over_dense"] > 0
        assert layer["errors"]["packed"] < 1e-5
    (model,) = found["models"]
    assert model["masked_weights"] == 3 * 64 * 9 + 64 * 36 * 64 + 64 * 9
    # A bit a weight, a scale of four bytes a tensor.
    assert model["weights_bytes"]["packed"] == model["masked_weights"] // 8 + 3 * 4
    assert model["model_bytes"]["packed"] == model["weights_bytes"]["packed"] + 2 * (64 + 64 + 9)
    assert model["model_bytes"]["dense float16"] == 2 * (model["masked_weights"] + 64 + 64 + 9)
    assert [each["batch"] for each in model["forward"]] == [1, 3]
    assert "packed / dense" in capsys.readouterr().out
    text = told(found)
    assert f"| small | {model['masked_weights']:,} | {model['weights_bytes']['packed']:,} B, 1/16.0 |" in text
    assert f"{found['layers'][1]['packed_over_dense']:.2f}x for 3." in text


def test_a_wrong_product_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    right = packed_models.rebuild_model

    def wrong(*args: object, packed: bool, **options: object) -> nn.Module:
        model: nn.Module = right(*args, packed=packed, **options)  # type: ignore[arg-type]
        if packed:
            model.get_submodule("1").keep.zero_()  # type: ignore[operator, union-attr]
        return model

    small = lambda: nn.Sequential(nn.Flatten(), nn.Linear(48, 32))  # noqa: E731
    monkeypatch.setattr(packed_models, "MODELS", {"small": (small, 4)})
    monkeypatch.setattr(packed_models, "rebuild_model", wrong)
    with pytest.raises(PemnError, match="small: logits from packed masks are"):
        packed_models.measure_model("small", torch.device("cpu"), [1], 1)
