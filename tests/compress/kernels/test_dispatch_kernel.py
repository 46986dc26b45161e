"""The ways from the public side to the kernels, which on the CPU are taken only where `usable` says so."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

import pemn_compress as pemn
from pemn_compress import decoded, loading, packed_op, rebuild
from pemn_compress.arriving import Arriving
from pemn_compress.kernels import packed
from pemn_compress.kernels import reconstruct as kernels
from pemn_compress.kernels.room import takes_stores
from pemn_compress.loading import rebuild_model
from pemn_compress.saving import to_content
from pemn_formats import reconstruct as reference
from pemn_formats.content import Content

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


@pytest.fixture(autouse=True)
def _kernels_serve(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (packed_op, rebuild):
        monkeypatch.setattr(module, "usable", lambda device: True)


def spied(monkeypatch: pytest.MonkeyPatch, module: Any, name: str) -> list[Any]:
    """What a function was called with from now on."""
    calls: list[Any] = []
    real: Callable[..., Any] = getattr(module, name)

    def spy(*args: Any, **options: Any) -> Any:
        calls.append(args)
        return real(*args, **options)

    monkeypatch.setattr(module, name, spy)
    return calls


def net() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(32, 64, 1, stride=2), nn.Flatten(), nn.Linear(256, 7), nn.Linear(7, 3))


def content() -> Content:
    options = {"strategy": "rp", "values": 251, "alphabet": "ternary", "scale": "channel"}
    return to_content(pemn.mask_(net(), pemn.MaskConfig(**options)))  # type: ignore[arg-type]


def raw(held: torch.Tensor) -> bytes:
    return bytes(held.detach().cpu().contiguous().view(torch.uint8).numpy())


@pytest.mark.parametrize("dtype", DTYPES)
def test_tensors_are_rebuilt_in_one_call_of_the_kernel(
    dtype: str, device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = content()
    calls = spied(monkeypatch, kernels, "reconstruct_many")
    weights = rebuild.reconstruct_many(held, held.masked, device, DTYPES[dtype])
    assert [len(call[1]) for call in calls] == [3]
    for weight, tensor in zip(weights, held.masked, strict=True):
        assert raw(weight) == reference.reconstruct(held, tensor, dtype).tobytes()


def test_weights_are_written_where_they_are_to_lie(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whole rows of eight into the tensors themselves; ragged, strided and unaligned ones by a copy."""
    held = content()
    conv, wide, ragged = held.masked
    padded = torch.full((wide.numel + 64,), 9.0, dtype=torch.float16, device=device)
    places = [
        torch.full(conv.shape, 9.0, dtype=torch.float16, device=device),
        padded[1 : 1 + wide.numel].view(wide.shape),
        torch.full((*ragged.shape, 2), 9.0, dtype=torch.float16, device=device)[..., 0],
    ]
    calls = spied(monkeypatch, kernels, "reconstruct_many")
    rebuild.reconstruct_into(held, list(zip(held.masked, places, strict=True)), torch.float16)
    assert [[tensor.name for tensor in call[1]] for call in calls] == [["0.weight"], ["2.weight", "3.weight"]]
    assert calls[0][4][0] is places[0]
    for place, tensor in zip(places, held.masked, strict=True):
        assert raw(place) == reference.reconstruct(held, tensor, "float16").tobytes()
    assert padded[0] == 9
    assert (padded[1 + wide.numel :] == 9).all()


@pytest.mark.parametrize(
    ("place", "taken"),
    [
        (torch.empty(16), True),
        (torch.empty(15), False),
        (torch.empty(16, dtype=torch.float16), False),
        (torch.empty(4, 8).t(), False),
        (torch.empty(17)[1:], False),
    ],
)
def test_where_the_kernel_can_write(place: torch.Tensor, taken: bool) -> None:
    assert takes_stores(place, torch.float32) is taken


def test_packed_layers_multiply_in_the_kernel(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    held = content()
    plain = rebuild_model(held, into=net(), device=device)
    compact = rebuild_model(held, into=net(), device=device, packed=True)
    inputs = torch.randn(2, 32, 4, 4, generator=torch.Generator().manual_seed(0)).to(device)
    calls = spied(monkeypatch, packed, "multiply")
    with torch.no_grad():
        torch.testing.assert_close(compact(inputs), plain(inputs), rtol=1e-4, atol=1e-4)
        assert len(calls) == 2  # the last layer's rows are no whole words
        with torch.autocast(device, torch.float16):
            found = compact(inputs)
    assert len(calls) == 4
    assert calls[-1][0].dtype == found.dtype == torch.float16
    with torch.no_grad():
        torch.testing.assert_close(found.float(), plain(inputs), rtol=2e-2, atol=2e-2)


def test_a_file_is_loaded_through_the_kernels(device: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the file to the model, every launch on the way; the CPU's own way gives what is expected."""
    path = tmp_path / "net.pemn"
    pemn.save_model(pemn.mask_(net(), pemn.MaskConfig(scale="channel", distribution="normal")), path)
    expected = pemn.load_file(path, dtype=torch.float16)
    monkeypatch.setattr(loading, "worthwhile", lambda device: True)
    for module in (loading, decoded):
        monkeypatch.setattr(module, "lies_on", lambda held, device: False)
    calls = spied(monkeypatch, kernels, "reconstruct_many")
    states = [
        pemn.load_file(path, device=device, dtype=torch.float16),
        pemn.load_model(path, into=net(), device=device, dtype=torch.float16).state_dict(),
    ]
    assert [len(call[1]) for call in calls] == [3, 3]
    for state in states:
        assert {name: raw(value) for name, value in state.items()} == {n: raw(v) for n, v in expected.items()}


@pytest.mark.parametrize("fill", [{"values": 251}, {"values": 251, "distribution": "normal"}, {"strategy": "mp"}])
@pytest.mark.parametrize("aside", [False, True])
def test_groups_have_the_same_bits_and_share_their_values(
    aside: bool, fill: dict[str, Any], device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A launch a group, as a reader hands them over; the values that they have in common are sent once."""
    options = {"strategy": "rp", "alphabet": "ternary", "scale": "channel", **fill}
    held = to_content(pemn.mask_(net(), pemn.MaskConfig(**options)), store="vector")
    calls = spied(monkeypatch, kernels, "reconstruct_many")
    tables = spied(monkeypatch, kernels, "table_of")
    with Arriving(device, torch.float16) as arriving:
        if aside and arriving._stream is None:  # the memory that another stream would write to
            stub: Any = SimpleNamespace(wait_stream=lambda other: None)
            arriving._stream = stub
            monkeypatch.setattr(torch.cuda, "current_stream", lambda device: stub)
            monkeypatch.setattr(torch.cuda, "stream", nullcontext)
        for tensor in held.masked:
            arriving.take(replace(held, masked=()), [tensor])
    assert [[tensor.name for tensor in call[1]] for call in calls] == [[tensor.name] for tensor in held.masked]
    sources = [source for _, source in tables if source.count]
    assert len(sources) == len(set(sources)) > 0
    for tensor in held.masked:
        found = arriving.weights[tensor.name]
        assert found.device.type == device
        assert raw(found) == reference.reconstruct(held, tensor, "float16").tobytes()
