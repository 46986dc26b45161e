"""Apple's and some of Intel's devices have no float64: what runs on a device makes none, whatever the device."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import pemn_compress as pemn
from pemn_compress import decoded, loading
from pemn_compress.data import load_data, normalise
from pemn_compress.logits import logit_change
from pemn_compress.train.evaluate import evaluate


class NoFloat64(TorchDispatchMode):
    """torch as on a device that refuses float64."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if func is torch.ops.aten.lift_fresh.default:  # an array of numpy's, which is at home on the CPU
            return out
        for value in tree_leaves(out):
            if isinstance(value, torch.Tensor) and value.dtype == torch.float64:
                raise TypeError(f"float64 made by {func}")
        return out


@pytest.fixture
def _another_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """The CPU goes the way of the other devices, and the values are made there too."""
    monkeypatch.setattr(loading, "worthwhile", lambda device: True)
    for module in (loading, decoded):
        monkeypatch.setattr(module, "lies_on", lambda held, device: False)


def test_the_mode_refuses_float64() -> None:
    with NoFloat64(), pytest.raises(TypeError, match="float64 made by"):
        torch.ones(1).double()


@pytest.mark.usefixtures("_another_device")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("distribution", ["signed", "uniform", "normal"])
@pytest.mark.parametrize("mode", ["copy", "rand"])
def test_loading(tmp_path: Path, distribution: str, mode: str, dtype: torch.dtype) -> None:
    def net(dtype: torch.dtype) -> nn.Module:
        model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Flatten(), nn.Linear(72, 11))
        model.register_buffer("exact", torch.arange(3, dtype=dtype) / 3)
        return model

    config = pemn.MaskConfig(
        strategy="rp", values=23, mode=mode, distribution=distribution, alphabet="ternary", scale="channel"
    )
    pemn.save_model(pemn.mask_(net(torch.float64), config), tmp_path / "net.pemn", lossless=True)
    model = net(torch.float32)
    with NoFloat64():
        state = pemn.load_file(tmp_path / "net.pemn", dtype=dtype)
        pemn.load_model(tmp_path / "net.pemn", into=model, dtype=dtype)
    assert state["exact"].dtype == dtype
    assert torch.equal(model.exact, state["exact"])


def test_measuring() -> None:
    splits = load_data("digits")
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    with NoFloat64():
        found = evaluate(model, splits.test, splits.spec, batch_size=100)
        change = logit_change(model, model, torch.ones(3, 1, 8, 8), "ones")
    assert found.count == len(splits.test)
    assert change.largest == 0


def test_losses_of_batches_are_added_in_float64() -> None:
    splits = load_data("digits")
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    found = evaluate(model, splits.test, splits.spec, batch_size=7)
    with torch.inference_mode():
        batches = zip(splits.test.images.split(7), splits.test.labels.split(7), strict=True)
        losses = [
            nn.functional.cross_entropy(model(normalise(images, splits.spec)), labels, reduction="sum").double()
            for images, labels in batches
        ]
    assert found.loss * found.count == pytest.approx(float(torch.stack(losses).sum()), rel=1e-12)
