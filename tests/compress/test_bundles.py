"""Bundles through the public functions: saving, loading one task, and swapping it in place."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import pemn_compress as pemn
from pemn_compress.loading import rebuild_model, rebuild_state
from pemn_compress.misfit import MisfitError
from pemn_compress.models import build
from pemn_compress.saving import to_content
from pemn_formats.delta import make_delta
from pemn_formats.reader import read
from pemn_formats.writer import encode

ARGS: Mapping[str, Any] = {"hidden": 16, "depth": 2, "image": 4, "channels": 1, "classes": 3}


def plain(**changes: Any) -> nn.Module:
    return build("mlp", **{**ARGS, **changes})


def masked(scores: int, **config: Any) -> nn.Module:
    """A registered network whose scores, biases and statistics depend on `scores`, its values on `config` alone."""
    generator = torch.Generator().manual_seed(scores)
    model = pemn.mask_(plain(), pemn.MaskConfig(**{"strategy": "rp", "values": 31, **config}))
    with torch.no_grad():
        for value in model.state_dict().values():
            if value.is_floating_point():
                value.copy_(torch.rand(value.shape, generator=generator) + 0.25)
        for score in pemn.mask_parameters(model):
            score.copy_(torch.randn(score.shape, generator=generator))
    return model.eval()


@pytest.fixture
def models() -> dict[str, nn.Module]:
    return {"day": masked(1), "night": masked(2)}


@pytest.fixture
def file(models: dict[str, nn.Module], tmp_path: Path) -> Path:
    path = tmp_path / "both.pemn"
    pemn.save_bundle(models, path)
    return path


def alone(model: nn.Module) -> dict[str, torch.Tensor]:
    return rebuild_state(to_content(model))


def assert_equal(found: Mapping[str, torch.Tensor], wanted: Mapping[str, torch.Tensor]) -> None:
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        assert torch.equal(found[name], value), name


@pytest.mark.parametrize("task", ["day", "night"])
def test_a_task_loads_as_its_own_file_would(task: str, file: Path, models: dict[str, nn.Module]) -> None:
    wanted = alone(models[task])
    assert_equal(pemn.load_file(file, task=task), wanted)
    assert_equal(pemn.load_model(file, task=task).state_dict(), wanted)
    assert_equal(pemn.load_model(file, task=task, into=plain()).state_dict(), wanted)


def test_files_and_modules_go_into_a_bundle_alike(models: dict[str, nn.Module], tmp_path: Path, file: Path) -> None:
    pemn.save_model(models["day"], tmp_path / "day.pemn")
    night = encode(to_content(models["night"]))
    ledger = pemn.save_bundle({"night": io.BytesIO(night), "day": tmp_path / "day.pemn"}, tmp_path / "again.pemn")
    assert (tmp_path / "again.pemn").read_bytes() == file.read_bytes()
    assert ledger.file_bytes == file.stat().st_size
    with pytest.raises(pemn.PemnError, match=r"again\.pemn exists; use --force \(or force=True\) to replace it$"):
        pemn.save_bundle(models, tmp_path / "again.pemn")
    pemn.save_bundle(models, tmp_path / "again.pemn", force=True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
def test_swapping_writes_over_the_same_storage(dtype: torch.dtype, file: Path, models: dict[str, nn.Module]) -> None:
    model = pemn.load_model(file, task="day").to(dtype).train()
    before = {name: value.data_ptr() for name, value in model.state_dict().items()}
    assert pemn.load_task_(model, file, "night") is model
    assert {name: value.data_ptr() for name, value in model.state_dict().items()} == before
    assert model.training
    wanted = alone(models["night"])
    for name, value in model.state_dict().items():
        assert value.dtype == (dtype if wanted[name].is_floating_point() else wanted[name].dtype)
        assert torch.equal(value, wanted[name].to(value.dtype)), name


def test_swapping_there_and_back_from_a_content_read_once(file: Path, models: dict[str, nn.Module]) -> None:
    bundle = read(file)
    model = plain()
    for task in ("day", "night", "day"):
        pemn.load_task_(model, bundle, task)
        assert_equal(model.state_dict(), alone(models[task]))
    images = torch.rand(5, 1, 4, 4)
    model.eval()
    torch.testing.assert_close(model(images), models["day"](images), rtol=0.02, atol=0.02)


def test_parameters_keep_their_gradients_and_optimizers(file: Path) -> None:
    model = pemn.load_model(file, task="day")
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    pemn.load_task_(model, file, "night")
    before = [parameter.clone() for parameter in model.parameters()]
    model(torch.rand(5, 1, 4, 4)).square().sum().backward()
    optimizer.step()
    assert any(not torch.equal(old, new) for old, new in zip(before, model.parameters(), strict=True))


def test_tied_weights_are_swapped_on_both_sides(tmp_path: Path) -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.left, self.right = nn.Linear(8, 8, bias=False), nn.Linear(8, 8)
            self.right.weight = self.left.weight

    def content(seed: int) -> bytes:
        # One parametrization cannot serve two layers, so a tied weight is masked as one and named twice by hand.
        from dataclasses import replace

        torch.manual_seed(seed)
        layers = nn.ModuleDict({"left": nn.Linear(8, 8, bias=False), "right": nn.BatchNorm1d(8, affine=False)})
        saved = to_content(pemn.mask_(layers))
        bias = next(each for each in saved.residual if each.name == "right.running_mean")
        return encode(
            replace(saved, residual=(replace(bias, name="right.bias"),), aliases={"right.weight": "left.weight"})
        )

    pemn.save_bundle({"a": content(1), "b": content(2)}, tmp_path / "tied.pemn")
    model = pemn.load_model(tmp_path / "tied.pemn", task="a", into=Tied())
    pemn.load_task_(model, tmp_path / "tied.pemn", "b")
    assert model.right.weight is model.left.weight
    assert torch.equal(model.right.weight, pemn.load_file(tmp_path / "tied.pemn", task="b")["right.weight"])


LISTED = r"^the file is a bundle; choose one of its tasks \(--task or task=\): day, night$"


def test_a_bundle_needs_a_task(file: Path) -> None:
    for load in (pemn.load_file, pemn.load_model):
        with pytest.raises(pemn.PemnError, match=LISTED):
            load(file)
    for rebuild in (rebuild_state, rebuild_model):
        with pytest.raises(pemn.PemnError, match=LISTED):
            rebuild(read(file))
    with pytest.raises(pemn.PemnError, match=r"^the bundle has no task 'dusk'; it has day, night$"):
        pemn.load_task_(plain(), file, "dusk")


def test_a_single_model_has_no_tasks(models: dict[str, nn.Module], tmp_path: Path) -> None:
    pemn.save_model(models["day"], tmp_path / "day.pemn")
    for load in (pemn.load_file, pemn.load_model):
        with pytest.raises(pemn.PemnError, match=r"^the file holds a single model, there is no task 'day'"):
            load(tmp_path / "day.pemn", task="day")


def test_a_patch_is_no_model(models: dict[str, nn.Module]) -> None:
    patch = encode(make_delta(*(to_content(model) for model in models.values())))
    for load in (pemn.load_file, pemn.load_model, pemn.size_report):
        with pytest.raises(pemn.PemnError, match=r"^the file is a delta of content [0-9a-f]{64}, no model"):
            load(patch)
    with pytest.raises(pemn.PemnError, match=r"^the file is a delta of content"):
        pemn.load_task_(plain(), patch, "day")


@pytest.mark.parametrize(
    ("model", "error", "message"),
    [
        (lambda: plain(hidden=17), MisfitError, r"^'layers\.0\.\w+\.weight' has shape \[16, 16\] in the file, "),
        (lambda: plain(depth=3), MisfitError, r"^the model has 'layers\.2\..* the file has no such tensor$"),
        (lambda: masked(3), pemn.PemnError, r"^the model to fill is parametrized; pass a plain one"),
    ],
)
def test_a_model_that_does_not_fit_is_left_as_it_was(
    model: Any, error: type[Exception], message: str, file: Path
) -> None:
    found = model()
    before = {name: value.clone() for name, value in found.state_dict().items()}
    with pytest.raises(error, match=message):
        pemn.load_task_(found, file, "day")
    assert_equal(found.state_dict(), before)


def test_models_over_other_values_are_refused(tmp_path: Path) -> None:
    with pytest.raises(pemn.PemnError, match=r"^the tasks 'a' and 'b' cannot share .*: their seeds are 0 and 5; "):
        pemn.save_bundle({"a": masked(1), "b": masked(1, seed=5)}, tmp_path / "both.pemn")
    with pytest.raises(pemn.PemnError, match=r"prototype 0 is 31 signed values in one, 37 signed in the other; "):
        pemn.save_bundle({"a": masked(1), "b": masked(1, values=37)}, tmp_path / "both.pemn")
    with pytest.raises(pemn.PemnError, match=r"^a bundle needs at least one model$"):
        pemn.save_bundle({}, tmp_path / "both.pemn")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_model_on_a_gpu_stays_there(file: Path, models: dict[str, nn.Module]) -> None:
    model = pemn.load_model(file, task="day", device="cuda", dtype=torch.float16)
    pemn.load_task_(model, file, "night")
    for name, value in model.state_dict().items():
        assert value.is_cuda
        assert torch.equal(value.cpu(), alone(models["night"])[name].to(value.dtype)), name
