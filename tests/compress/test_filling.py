from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from pemn_compress import MaskConfig, PemnError, load_file, load_model, mask_, save_model
from pemn_compress.filling import fill_weights_, state_shapes
from pemn_compress.loading import rebuild_state
from pemn_formats.content import Content, MaskedTensor, Prototype
from pemn_formats.reader import read


def net() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Flatten(), nn.Linear(72, 11))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "net.pemn"
    save_model(mask_(net(), MaskConfig(scale="channel")), path)
    return path


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_a_model_is_filled_where_it_lies(path: Path, dtype: torch.dtype) -> None:
    model = net().to(dtype)
    places = {name: value.data_ptr() for name, value in model.state_dict().items()}
    parameters = dict(model.named_parameters())
    assert load_model(path, into=model, dtype=dtype) is model
    assert {name: value.data_ptr() for name, value in model.state_dict().items()} == places
    assert all(parameters[name] is value for name, value in model.named_parameters())
    for name, value in load_file(path, dtype=dtype).items():
        assert torch.equal(model.state_dict()[name], value), name


def test_every_number_of_threads_gives_the_same(path: Path) -> None:
    expected = load_file(path, threads=1)
    for threads in (2, 5, None):
        for name, value in load_file(path, threads=threads, mmap=True).items():
            assert torch.equal(value, expected[name]), name


def test_progress_reaches_the_whole_file(path: Path) -> None:
    told: list[tuple[int, int]] = []
    load_file(path, progress=lambda done, total: told.append((done, total)))
    load_model(path, into=net(), progress=lambda done, total: told.append((done, total)))
    assert told
    assert all(done <= total <= path.stat().st_size for done, total in told)
    assert told[-1][0] == told[-1][1]


def test_tensors_in_another_memory_order_are_filled_too(path: Path) -> None:
    plain = load_model(path, into=net())
    model = net().to(memory_format=torch.channels_last)
    assert not model[0].weight.is_contiguous()
    load_model(path, into=model)
    assert not model[0].weight.is_contiguous()
    for name, value in plain.state_dict().items():
        assert torch.equal(model.state_dict()[name], value), name


def test_float64_takes_the_float32_weights() -> None:
    mask = np.array([0b10110010], np.uint8)
    tensor = MaskedTensor("w", (2, 4), 0, 0, "keep", np.float32(0.1), planes=(mask,))
    content = Content(1, (Prototype(8, "normal"),), (tensor,))
    place = torch.empty(2, 4, dtype=torch.float64)
    fill_weights_(content, [(tensor, place)])
    assert torch.equal(place, rebuild_state(content)["w"].double())


def test_what_autograd_saved_of_old_weights_is_not_taken_for_theirs(path: Path) -> None:
    model = net()
    loss = model(torch.ones(2, 3, 5, 5)).square().sum()
    load_model(path, into=model)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


@pytest.mark.parametrize("tie", [True, False])
def test_tied_weights_fill_tied_models_and_others(tmp_path: Path, tie: bool) -> None:
    class Source(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Linear(16, 16)
            self.left, self.right = nn.Linear(16, 4), nn.Linear(16, 4)
            self.right.bias = self.left.bias

    save_model(mask_(Source()), tmp_path / "a.pemn")
    model = Source()
    if not tie:
        model.right.bias = nn.Parameter(torch.zeros(4))
    load_model(tmp_path / "a.pemn", into=model)
    state = load_file(tmp_path / "a.pemn")
    assert (model.right.bias is model.left.bias) is tie
    for name, value in model.state_dict().items():
        assert torch.equal(value, state[name]), name


@pytest.mark.parametrize("tie", [True, False])
def test_a_model_on_the_meta_device_stays_tied_as_it_was(tmp_path: Path, tie: bool) -> None:
    def net() -> nn.Module:
        model = nn.Sequential(nn.Linear(16, 4), nn.Linear(4, 4), nn.Linear(4, 4))
        model[2].bias = model[1].bias
        return model

    save_model(mask_(net()), tmp_path / "a.pemn")
    with torch.device("meta"):
        model = net()
    model[1].bias.requires_grad_(False)
    if not tie:
        model[2].bias = nn.Parameter(torch.zeros(4, device="meta"))
    load_model(tmp_path / "a.pemn", into=model)
    assert (model[1].bias is model[2].bias) is tie
    assert torch.equal(model[1].bias, model[2].bias)
    assert model[2].bias.requires_grad is not tie
    assert model[1].weight.requires_grad
    assert len(list(model.parameters())) == (5 if tie else 6)


@pytest.mark.parametrize("packed", [False, True])
def test_what_no_file_holds_cannot_stay_on_the_meta_device(tmp_path: Path, packed: bool) -> None:
    def net() -> nn.Module:
        model = nn.Sequential(nn.Linear(16, 4))
        model.register_buffer("table", torch.ones(2), persistent=False)
        return model

    save_model(mask_(net()), tmp_path / "a.pemn")
    with torch.device("meta"):
        model = net()
    with pytest.raises(PemnError, match="the buffer 'table' of the model is on the meta device and in no state dict"):
        load_model(tmp_path / "a.pemn", into=model, packed=packed)
    assert load_model(tmp_path / "a.pemn", into=net(), packed=packed) is not None


class Renamed(nn.Module):
    """A module whose state dict is not made of its own parameters' names."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(8, 4)
        self._register_state_dict_hook(self._rename)
        self.register_load_state_dict_pre_hook(self._take_back)

    @staticmethod
    def _rename(module: nn.Module, state: dict[str, torch.Tensor], prefix: str, *_: object) -> None:
        for name in ("weight", "bias"):
            state[f"{prefix}{name}"] = state.pop(f"{prefix}inner.{name}")

    @staticmethod
    def _take_back(module: nn.Module, state: dict[str, torch.Tensor], prefix: str, *_: object) -> None:
        for name in ("weight", "bias"):
            state[f"{prefix}inner.{name}"] = state.pop(f"{prefix}{name}")


def test_modules_that_rename_their_entries_take_them_back(tmp_path: Path) -> None:
    plain = mask_(nn.Linear(8, 4))
    save_model(plain, tmp_path / "a.pemn")
    model = load_model(tmp_path / "a.pemn", into=Renamed())
    assert torch.equal(model.inner.weight, plain.weight)


def test_a_model_that_does_not_fit_is_left_alone(path: Path) -> None:
    model = nn.Sequential(*net()[:3], nn.Linear(72, 12))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(PemnError, match="has shape"):
        load_model(path, into=model)
    with pytest.raises(PemnError, match=r"weights are rebuilt as .*found torch\.float64"):
        load_model(path, into=net(), dtype=torch.float64)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_shapes_are_those_of_the_state(path: Path) -> None:
    content = read(path)
    assert state_shapes(content) == {name: tuple(value.shape) for name, value in rebuild_state(content).items()}


MEASURE = """
import sys
import torch
from pemn_compress import load_model

def status(key):
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith(key)) << 10

torch.set_num_threads(2)
model = torch.nn.Linear(4096, 4096, bias=False)
load_model(sys.argv[1], into=torch.nn.Linear(1, 1, bias=False))
before = status("VmRSS")
open("/proc/self/clear_refs", "w").write("5")
load_model(sys.argv[2], into=model)
print(status("VmHWM") - before)
"""


@pytest.mark.skipif(
    not Path("/proc/self/clear_refs").exists(), reason="the system does not tell a process's peak memory"
)
def test_loading_takes_little_memory_beside_the_model(tmp_path: Path) -> None:
    for name, size in (("small", 1), ("large", 4096)):
        model = mask_(nn.Linear(size, size, bias=False))
        with torch.no_grad():
            model.parametrizations["weight"].original.fill_(1.0)  # codes in a moment
        save_model(model, tmp_path / name)
    command = [sys.executable, "-c", MEASURE, str(tmp_path / "small"), str(tmp_path / "large")]
    run = subprocess.run(command, check=True, capture_output=True, text=True)
    # The weights take 64 MiB, their packed masks 2 MiB.
    assert int(run.stdout) < 24 << 20
