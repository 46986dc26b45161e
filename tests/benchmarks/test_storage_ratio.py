from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from benchmarks import nets, storage_ratio
from benchmarks.dense_files import write_dense
from pemn_compress import MaskConfig, mask_, save_model
from pemn_compress.masking import masked_weights
from pemn_compress.models import build
from pemn_compress.saving import to_content
from pemn_formats.writer import encode

STRATEGIES = dict(storage_ratio.strategies())


def tiny() -> nn.Module:
    return build("convmixer", dim=24, depth=2, patch=4)


@pytest.mark.parametrize("label", STRATEGIES)
@pytest.mark.parametrize(("store", "distribution"), [("seed", "signed"), ("vector", "normal")])
def test_the_short_way_gives_the_file_that_masking_anew_gives(
    label: str, store: str, distribution: str, tmp_path: Path
) -> None:
    config = MaskConfig(**STRATEGIES[label], store=store, distribution=distribution)
    model = mask_(nets.stand_in_(tiny()), MaskConfig())
    tensors = [weight.tensor for _, weight, _ in masked_weights(model)]
    short = encode(storage_ratio.with_strategy(to_content(model), tensors, config))
    save_model(mask_(nets.stand_in_(tiny()), config), tmp_path / "net.pemn")
    assert short == (tmp_path / "net.pemn").read_bytes()


def test_a_net_is_measured_and_shown(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(storage_ratio, "NETS", {"tiny": tiny})
    storage_ratio.main(["--nets", "tiny", "--out", str(tmp_path / "out.json")])
    (net,) = json.loads((tmp_path / "out.json").read_text())["nets"]
    assert "rp 1e-3 copy" in capsys.readouterr().out
    assert len(net["dense_bytes"]) == 8
    files = {(row["strategy"], row["store"], row["residual_dtype"]): row for row in net["files"]}
    assert len(files) == 2 * len(STRATEGIES) + 4
    for row in files.values():
        parts = sum(row[f"{part}_bytes"] for part in ("header", "prototypes", "masks", "residual"))
        assert parts == row["bytes"]
        assert row["ratio"]["safetensors float32"] == pytest.approx(
            net["dense_bytes"]["safetensors float32"] / row["bytes"], abs=0.01
        )
    assert files["full", "vector", "float16"]["bytes"] > 2 * files["full", "seed", "float16"]["bytes"]
    assert files["rp 1e-3 copy", "seed", "lossless"]["bytes"] > files["rp 1e-3 copy", "seed", "float16"]["bytes"]


def test_stand_ins_leave_nothing_constant() -> None:
    model = nn.Sequential(tiny(), nn.LayerNorm(10), nn.MultiheadAttention(10, 2))
    nets.stand_in_(model)
    for name, value in model.state_dict().items():
        if value.is_floating_point():
            assert value.unique().numel() == value.numel(), name
    variances = [value for name, value in model.state_dict().items() if name.endswith("running_var")]
    assert variances
    assert all((value > 0).all() for value in variances)
    again = nets.stand_in_(nn.Sequential(tiny(), nn.LayerNorm(10), nn.MultiheadAttention(10, 2)))
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in model.state_dict().items())


def test_dense_files_hold_the_values(tmp_path: Path) -> None:
    state = {"weight": torch.randn(5, 3), "steps": torch.tensor(7)}
    paths = dict(write_dense(state, tmp_path))
    assert list(paths) == ["torch.save float32", "safetensors float32", "torch.save float16", "safetensors float16"]
    loaded = torch.load(paths["torch.save float16"])
    assert torch.equal(loaded["weight"], state["weight"].half())
    assert loaded["steps"] == 7
