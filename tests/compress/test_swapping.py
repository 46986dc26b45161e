from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from pemn_compress import MaskConfig, decoded, load_file, load_model, mask_, save_model
from pemn_compress.swapping import lies_on, swap_


class Net(nn.Module):
    """Tied weights, a frozen layer, an LSTM, BatchNorm, a buffer that no file holds, another memory order."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3).to(memory_format=torch.channels_last)
        self.norm = nn.BatchNorm2d(8)
        self.body, self.head = nn.Linear(72, 72), nn.Linear(72, 72)
        self.head.bias = self.body.bias
        self.norm.bias.requires_grad_(False)
        self.memory = nn.LSTM(72, 5)
        self.register_buffer("table", torch.arange(4.0), persistent=False)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        features = self.head(self.body(self.norm(self.conv(images)).flatten(1))) + self.table.sum()
        out: torch.Tensor = self.memory(features)[0]
        return out


class Copies(TorchDispatchMode):
    """The sizes of what is converted or sent elsewhere as it is."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[int] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten._to_copy.default:
            self.sizes.append(args[0].numel())
        return func(*args, **(kwargs or {}))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "net.pemn"
    save_model(mask_(Net(), MaskConfig(scale="channel")), path, residual_dtype="float32")
    return path


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Models are taken to lie on another device; float16 is what differs here."""
    monkeypatch.setattr(decoded, "lies_on", lambda held, device: False)


@pytest.mark.usefixtures("elsewhere")
def test_a_model_from_elsewhere_takes_new_tensors(path: Path) -> None:
    model = Net()
    parameters, modules = dict(model.named_parameters()), dict(model.named_modules())
    called: list[torch.Tensor] = []
    model.body.weight.register_hook(called.append)
    with Copies() as copies:
        assert load_model(path, into=model, dtype=torch.float16) is model
    # The table, which no file holds, and the file's own residual values; not one weight of the model.
    assert not {model.conv.weight.numel(), model.body.weight.numel()} & set(copies.sizes)
    assert copies.sizes.count(model.memory.weight_ih_l0.numel()) == 1
    assert copies.sizes.count(model.table.numel()) == 1
    assert dict(model.named_modules()) == modules
    assert all(parameters[name] is value for name, value in model.named_parameters())
    assert model.head.bias is model.body.bias
    assert [name for name, value in model.named_parameters() if not value.requires_grad] == ["norm.bias"]
    assert not model.conv.weight.is_contiguous()
    assert model.conv.weight.is_contiguous(memory_format=torch.channels_last)
    assert model.table.dtype == torch.float16
    assert model.table.tolist() == [0, 1, 2, 3]
    expected = load_file(path, dtype=torch.float16)
    assert expected.keys() == model.state_dict().keys()
    for name, value in model.state_dict().items():
        assert value.dtype == expected[name].dtype
        assert torch.equal(value, expected[name]), name
    model(torch.ones(2, 3, 5, 5, dtype=torch.float16)).sum().backward()
    assert len(called) == 1


@pytest.mark.usefixtures("elsewhere")
def test_what_lies_there_already_is_written_over(path: Path) -> None:
    model = Net()
    places = {name: value.data_ptr() for name, value in model.state_dict().items()}
    load_model(path, into=model)
    assert {name: value.data_ptr() for name, value in model.state_dict().items()} == places
    for name, value in load_file(path).items():
        assert torch.equal(model.state_dict()[name], value), name


@pytest.mark.usefixtures("elsewhere")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_what_autograd_saved_is_not_taken_for_new_weights(path: Path, dtype: torch.dtype) -> None:
    model = Net()
    loss = model(torch.ones(2, 3, 5, 5)).square().sum()
    load_model(path, into=model, dtype=dtype)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_what_only_the_file_ties_has_memory_of_its_own() -> None:
    model = nn.Sequential(nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False))
    one = torch.ones(3, 3, dtype=torch.float16)
    held = dict(model.named_parameters())
    swap_(model, held, dict.fromkeys(held, one), "cpu", torch.float16)
    assert torch.equal(model[0].weight, model[1].weight)
    assert model[0].weight.data_ptr() != model[1].weight.data_ptr()


@pytest.mark.usefixtures("elsewhere")
def test_a_failure_leaves_the_model_as_it_was(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = Net()
    before = {name: (value.data_ptr(), value.clone()) for name, value in model.state_dict().items()}

    def no_memory(*_: Any, **__: Any) -> None:
        raise torch.OutOfMemoryError("the device is full")

    monkeypatch.setattr(decoded, "rebuild_state", no_memory)
    with pytest.raises(torch.OutOfMemoryError):
        load_model(path, into=model, dtype=torch.float16)
    for name, value in model.state_dict().items():
        assert value.data_ptr() == before[name][0]
        assert torch.equal(value, before[name][1]), name


def test_where_tensors_lie() -> None:
    held = {"a": torch.ones(1), "b": torch.ones(1, device="meta")}
    assert lies_on({"a": held["a"]}, "cpu")
    assert not lies_on(held, "cpu")
