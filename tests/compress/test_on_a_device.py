"""The same checks on the CPU and on CUDA, so that those for a device are known to hold here at least."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import pemn_compress as pemn
from pemn_compress import loading
from pemn_compress.kernels import usable
from pemn_compress.packed_layers import PackedConv1x1, PackedLinear
from pemn_formats.errors import FormatError

ON_CUDA = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]
cuda = pytest.param("cuda", marks=ON_CUDA)
devices = pytest.mark.parametrize("device", ["cpu", cuda])
DTYPES = [torch.float32, torch.float16, torch.bfloat16]


def net() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(32, 64, 1), nn.BatchNorm2d(64), nn.ReLU(), nn.Conv2d(64, 32, 3), nn.Flatten(), nn.Linear(128, 10)
    )


@pytest.fixture(params=[{}, {"strategy": "rp", "values": 251}, {"alphabet": "sign"}], ids=str)
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / "net.pemn"
    pemn.save_model(pemn.mask_(net(), pemn.MaskConfig(scale="channel", **request.param)), path)
    return path


def inputs(device: str, count: int = 2) -> torch.Tensor:
    return torch.randn(count, 32, 4, 4, generator=torch.Generator().manual_seed(0)).to(device)


def same(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor], device: str) -> None:
    assert found.keys() == expected.keys()
    for name, value in found.items():
        assert value.device.type == device
        assert value.dtype == expected[name].dtype
        assert torch.equal(value.cpu(), expected[name]), name


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_the_kernels_serve_this_device() -> None:
    assert usable("cuda")


@devices
@pytest.mark.parametrize("dtype", DTYPES)
def test_into_a_model_from_the_cpu(path: Path, device: str, dtype: torch.dtype) -> None:
    model = net()
    parameters = dict(model.named_parameters())
    pemn.load_model(path, into=model, device=device, dtype=dtype)
    same(dict(model.state_dict()), pemn.load_file(path, dtype=dtype), device)
    assert all(parameters[name] is value for name, value in model.named_parameters())


@devices
@pytest.mark.parametrize("dtype", DTYPES)
def test_into_a_model_that_lies_there(path: Path, device: str, dtype: torch.dtype) -> None:
    model = net().to(device, dtype)
    places = {name: value.data_ptr() for name, value in model.state_dict().items()}
    pemn.load_model(path, into=model, device=device, dtype=dtype)
    assert {name: value.data_ptr() for name, value in model.state_dict().items()} == places
    same(dict(model.state_dict()), pemn.load_file(path, dtype=dtype), device)


@devices
def test_into_a_model_in_channels_last_memory_and_with_an_lstm(tmp_path: Path, device: str) -> None:
    def net() -> nn.Module:
        model = nn.ModuleDict({"conv": nn.Conv2d(3, 8, 3), "memory": nn.LSTM(9, 5), "last": nn.Linear(5, 3)})
        return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]

    pemn.save_model(pemn.mask_(net()), tmp_path / "net.pemn")
    model = pemn.load_model(tmp_path / "net.pemn", into=net(), device=device)
    same(dict(model.state_dict()), pemn.load_file(tmp_path / "net.pemn"), device)
    assert model.get_submodule("conv").weight.is_contiguous(memory_format=torch.channels_last)
    with torch.no_grad():
        assert model.get_submodule("memory")(torch.ones(2, 4, 9, device=device))[0].shape == (2, 4, 5)


@devices
def test_of_a_damaged_file_nothing_remains(path: Path, device: str) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    model = net()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(FormatError, match="is damaged: its CRC-32 differs"):
        pemn.load_model(path, into=model, device=device)
    same(dict(model.state_dict()), before, "cpu")


@devices
def test_a_file_of_several_chunks_while_it_is_decoded(
    tmp_path: Path, device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pemn_formats.handover._GROUP_BYTES", 1)
    model = pemn.mask_(nn.Sequential(*(nn.Linear(2048, 2050, bias=False) for _ in range(3))))
    pemn.save_model(model, tmp_path / "net.pemn", effort="fast")
    expected = pemn.load_file(tmp_path / "net.pemn", dtype=torch.float16)
    monkeypatch.setattr(loading, "worthwhile", lambda device: True)
    for _ in range(2):  # memory that the first one gave back is used again
        found = pemn.load_file(tmp_path / "net.pemn", device=device, dtype=torch.float16, threads=4)
        same(found, expected, device)


@devices
@pytest.mark.parametrize("count", [1, 2, 64])
@pytest.mark.parametrize("dtype", DTYPES)
@torch.no_grad()
def test_packed_layers_compute_what_dense_ones_do(path: Path, device: str, dtype: torch.dtype, count: int) -> None:
    plain = pemn.load_model(path, into=net(), device=device)
    packed = pemn.load_model(path, into=net(), device=device, dtype=dtype, packed=True)
    assert isinstance(packed.get_submodule("0"), PackedConv1x1)
    assert isinstance(packed.get_submodule("5"), PackedLinear)
    assert all(value.device.type == device for value in (*packed.buffers(), *packed.parameters()))
    found, expected = packed(inputs(device, count).to(dtype)), plain(inputs(device, count))
    assert found.dtype == dtype
    near = 1e-2 if dtype == torch.float32 else 0.05  # convolutions on CUDA round their inputs to TF32
    torch.testing.assert_close(found.float(), expected, rtol=near, atol=near * float(expected.abs().max()))


@devices
@pytest.mark.filterwarnings("ignore:TensorFloat32 tensor cores")
@torch.no_grad()
def test_packed_layers_compile_whole_and_under_autocast(path: Path, device: str) -> None:
    plain = pemn.load_model(path, into=net(), device=device)
    packed = pemn.load_model(path, into=net(), device=device, packed=True)
    torch.compiler.reset()
    options: dict[str, Any] = {} if device == "cuda" else {"backend": "aot_eager"}
    compiled = torch.compile(packed, fullgraph=True, **options)
    expected = plain(inputs(device))
    torch.testing.assert_close(compiled(inputs(device)), packed(inputs(device)), rtol=1e-2, atol=1e-2)
    with torch.autocast(device, torch.bfloat16):
        for model in (packed, compiled):
            found = model(inputs(device))
            assert found.dtype == torch.bfloat16
            near = 0.05 * float(expected.abs().max())
            torch.testing.assert_close(found.float(), expected, rtol=0.05, atol=near)
