from __future__ import annotations

from pathlib import Path

import pytest
import torch

from pemn_compress import models
from pemn_compress.config import MaskConfig
from pemn_compress.data.known import stand_in
from pemn_compress.masking import mask_, masked_weights
from pemn_compress.saving import save_model
from pemn_compress.train.size_estimate import MaskCount, count_masks, estimate_bytes, foresee_bytes, mask_bits


@pytest.mark.parametrize(
    ("count", "bits"),
    [
        (MaskCount("half", 1000, 500, 0), 1000.0),
        (MaskCount("all", 1000, 1000, 0), 0.0),
        (MaskCount("none", 1000, 0, 0), 0.0),
        (MaskCount("quarter", 1000, 250, 0), 811.278),
        (MaskCount("ternary", 1000, 500, 250), 1500.0),
    ],
)
def test_shannons_bound(count: MaskCount, bits: float) -> None:
    assert mask_bits(count) == pytest.approx(bits, abs=1e-3)


@pytest.mark.parametrize("alphabet", ["keep", "sign", "ternary"])
def test_counts_are_those_of_the_codes(alphabet: str) -> None:
    model = mask_(models.build("mlp", image=4, channels=1, hidden=8), MaskConfig(alphabet=alphabet))
    for count, (name, weight, score) in zip(count_masks(model), masked_weights(model), strict=True):
        code = weight.code(score)
        assert (count.name, count.count) == (name, score.numel())
        assert count.nonzero == int((code != 0).sum())
        assert count.negative == int((code == -1).sum())
        assert count.density == weight.density(score)


@pytest.mark.parametrize("distribution", ["signed", "normal", "uniform"])
@pytest.mark.parametrize("store", ["seed", "vector"])
@pytest.mark.parametrize(
    ("name", "arguments"),
    [("mlp", {"image": 8, "channels": 1, "hidden": 128}), ("convmixer", {"dim": 64, "depth": 8}), ("resnet", {})],
)
def test_the_estimate_is_near_the_file(
    tmp_path: Path, name: str, arguments: dict[str, int], store: str, distribution: str
) -> None:
    model = models.build(name, **arguments)
    mask_(model, MaskConfig(strategy="rp", values=1009, store=store, distribution=distribution))
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, torch.nn.BatchNorm1d | torch.nn.BatchNorm2d):
                module.weight.uniform_(0.5, 1.5)
                module.bias.uniform_(-1, 1)
    foreseen = estimate_bytes(model, count_masks(model))
    written = save_model(model, tmp_path / "m.pemn").file_bytes
    assert written == pytest.approx(foreseen, rel=0.05)


def test_a_dense_model_counts_as_its_checkpoint() -> None:
    model = torch.nn.Linear(10, 4)
    assert estimate_bytes(model, count_masks(model)) == 4 * 44


@pytest.mark.parametrize("dtype", ["float16", "float32", "log8"])
def test_the_estimate_follows_the_residual_dtype(tmp_path: Path, dtype: str) -> None:
    model = mask_(models.build("convmixer", dim=48, depth=4), MaskConfig())
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.weight.copy_(torch.rand(48, generator=generator) + 0.5)
                module.bias.copy_(torch.randn(48, generator=generator))
    foreseen = estimate_bytes(model, count_masks(model), dtype)
    written = save_model(model, tmp_path / "m.pemn", residual_dtype=dtype).file_bytes
    assert written == pytest.approx(foreseen, rel=0.07)


def test_what_is_foreseen_knows_what_the_coder_saves(tmp_path: Path) -> None:
    """Masks with structure, as learned ones have it: the estimate takes their bits for independent, the coder not."""
    model = mask_(torch.nn.Sequential(torch.nn.Linear(96, 96, bias=False)), MaskConfig())
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for _, weight, score in masked_weights(model):
            wanted = torch.randn(96, 1, generator=generator) @ torch.randn(1, 96, generator=generator)
            score.copy_(wanted * weight.unmasked().sign())
    described = stand_in(10, 3, 32).to_input()
    written = save_model(model, tmp_path / "m.pemn", input=described).file_bytes
    assert foresee_bytes(model, count_masks(model), described=described) == written
    assert estimate_bytes(model, count_masks(model)) > 1.3 * written


@pytest.mark.parametrize("loops", [None, object()], ids=["numpy", "compiled"])
def test_what_takes_long_to_code_is_estimated(loops: object, monkeypatch: pytest.MonkeyPatch) -> None:
    coded: list[int] = []
    monkeypatch.setattr("pemn_compress.train.size_estimate.compiled", lambda: loops)
    monkeypatch.setattr("pemn_compress.train.size_estimate.encode", lambda _: bytes(coded.append(1) or 7))
    for side in (256, 257):
        model = mask_(torch.nn.Linear(side, side, bias=False), MaskConfig())
        masks = count_masks(model)
        estimated = loops is None and side == 257
        assert foresee_bytes(model, masks) == (estimate_bytes(model, masks) if estimated else 7)
    assert len(coded) == (1 if loops is None else 2)


def test_what_cannot_be_saved_is_estimated() -> None:
    model = torch.nn.Sequential(
        mask_(torch.nn.Linear(32, 32), MaskConfig(seed=1)), mask_(torch.nn.Linear(32, 32), MaskConfig(seed=2))
    )
    masks = count_masks(model)
    assert foresee_bytes(model, masks) == estimate_bytes(model, masks)
