"""Loading with weights made while the rest of the file is decoded, as every device but the CPU does it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import pemn_compress as pemn
from pemn_compress import arriving, decoded, loading
from pemn_compress.arriving import Arriving, worthwhile
from pemn_compress.misfit import MisfitError
from pemn_compress.models import build
from pemn_formats import handover
from pemn_formats.content import Content, MaskedTensor
from pemn_formats.errors import FormatError
from pemn_formats.limits import CHUNK_BYTES
from pemn_formats.reader import read
from pemn_formats.sections import Placed, Section

DTYPES = (torch.float32, torch.float16, torch.bfloat16)


def net() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Flatten(), nn.Linear(72, 11), nn.Linear(11, 5))


@pytest.fixture
def events(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """This device is taken for one where it is worth while; what is decoded and what is begun is told in order."""
    told: list[str] = []
    take, decode = Arriving.take, Section.decode

    def told_take(self: Arriving, content: Content, tensors: Sequence[MaskedTensor]) -> None:
        take(self, content, tensors)
        told.extend(tensor.name for tensor in tensors)

    def told_decode(self: Section, placed: Placed, stored: bytes) -> bytes:
        out = decode(self, placed, stored)
        told.append(f"{self.name} {placed.start // CHUNK_BYTES}")
        return out

    monkeypatch.setattr(handover, "_GROUP_BYTES", 1)
    monkeypatch.setattr(Arriving, "take", told_take)
    monkeypatch.setattr(Section, "decode", told_decode)
    for module in (loading, decoded):
        monkeypatch.setattr(module, "lies_on", lambda held, device: False)
    monkeypatch.setattr(loading, "worthwhile", lambda device: True)
    return told


def saved(folder: Path, model: nn.Module, **options: Any) -> Path:
    pemn.save_model(pemn.mask_(model, pemn.MaskConfig(**options)), folder / "net.pemn")
    return folder / "net.pemn"


def raw(state: dict[str, torch.Tensor]) -> dict[str, tuple[torch.dtype, tuple[int, ...], bytes]]:
    return {
        name: (value.dtype, tuple(value.shape), bytes(value.detach().contiguous().view(-1).view(torch.uint8).numpy()))
        for name, value in state.items()
    }


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "options",
    [
        {"scale": "channel", "alphabet": "ternary"},
        {"strategy": "rp", "values": 23, "mode": "rand", "distribution": "normal"},
        {"strategy": "mp", "alphabet": "sign"},
    ],
)
def test_weights_are_those_of_the_plain_way(
    options: dict[str, Any], dtype: torch.dtype, threads: int, tmp_path: Path, events: list[str]
) -> None:
    path = saved(tmp_path, net(), **options)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loading, "worthwhile", worthwhile)
        expected = raw(pemn.load_file(path, dtype=dtype, threads=threads))
        assert not {"0.weight", "3.weight"} & set(events)
    with torch.device("meta"):
        empty = net()
    for found in (
        pemn.load_file(path, dtype=dtype, threads=threads),
        pemn.load_model(path, into=net(), dtype=dtype, threads=threads).state_dict(),
        pemn.load_model(path, into=empty, dtype=dtype, threads=threads).state_dict(),
    ):
        assert raw(found) == expected
    for name in ("0.weight", "3.weight", "4.weight"):
        assert events.count(name) == 3


def test_a_model_that_the_file_names(tmp_path: Path, events: list[str]) -> None:
    path = saved(tmp_path, build("mlp", image=4, channels=1, hidden=7, depth=1, classes=3), scale="channel")
    masked = [tensor.name for tensor in read(path).masked]
    assert raw(pemn.load_model(path).state_dict()) == raw(pemn.load_file(path))
    assert [name for name in events if name in masked] == 2 * masked


def large(folder: Path) -> Path:
    """Two tensors of a bit more than a chunk each."""
    model = pemn.mask_(nn.Sequential(nn.Linear(2048, 2050, bias=False), nn.Linear(2050, 2048, bias=False)))
    with torch.no_grad():
        for parametrized in model:
            parametrized.parametrizations["weight"].original.fill_(1.0)  # codes in a moment
    pemn.save_model(model, folder / "net.pemn")
    return folder / "net.pemn"


def test_weights_are_begun_before_the_last_chunk_is_decoded(tmp_path: Path, events: list[str]) -> None:
    pemn.load_file(large(tmp_path), dtype=torch.float16, threads=1)
    assert events == ["masks 0", "masks 1", "0.weight", "masks 2", "1.weight"]


@pytest.mark.parametrize("threads", [1, 2])
def test_of_a_damaged_file_nothing_remains(tmp_path: Path, events: list[str], threads: int) -> None:
    path = large(tmp_path)
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    model = nn.Sequential(nn.Linear(2048, 2050, bias=False), nn.Linear(2050, 2048, bias=False))
    before = {name: (value.data_ptr(), value.clone()) for name, value in model.state_dict().items()}
    with pytest.raises(FormatError, match=r"^a chunk of the masks \('1.weight'\) is damaged: its CRC-32 differs$"):
        pemn.load_model(path, into=model, dtype=torch.float16, threads=threads)
    assert "0.weight" in events  # made, and dropped
    for name, value in model.state_dict().items():
        assert value.data_ptr() == before[name][0]
        assert torch.equal(value, before[name][1]), name


def test_no_weights_are_made_for_a_model_that_they_do_not_fit(tmp_path: Path, events: list[str]) -> None:
    path = saved(tmp_path, net())
    with pytest.raises(MisfitError, match=r"^'3\.weight' has shape \[11, 72\] in the file, \[12, 72\] in the model$"):
        pemn.load_model(path, into=nn.Sequential(*net()[:3], nn.Linear(72, 12), nn.Linear(12, 5)))
    assert events == []


def test_what_is_written_over_waits_for_the_whole_file(
    tmp_path: Path, events: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = saved(tmp_path, net())
    monkeypatch.setattr(loading, "lies_on", lambda held, device: True)
    pemn.load_model(path, into=net())
    assert not [event for event in events if event.endswith("weight")]


class FakeStream:
    def __init__(self, name: str, told: list[str]) -> None:
        self.name, self._told = name, told

    def wait_stream(self, other: FakeStream) -> None:
        self._told.append(f"{self.name} waits for {other.name}")


def test_the_other_stream_waits_and_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also after an error: memory must not be given out again while a kernel still writes there."""
    told: list[str] = []
    main, side = FakeStream("main", told), FakeStream("side", told)

    @contextmanager
    def current(stream: FakeStream) -> Any:
        told.append(f"on {stream.name}")
        yield
        told.append("back")

    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: main)
    monkeypatch.setattr(torch.cuda, "stream", current)
    monkeypatch.setattr(arriving, "reconstruct_many", lambda *_, **__: told.append("made") or [])
    both: Any = Arriving("cpu", torch.float32)
    both._stream = side

    def load_what_is_damaged() -> None:
        with both:
            both.take(Content(0, (), ()), [])
            raise FormatError("damaged")

    with pytest.raises(FormatError, match="damaged"):
        load_what_is_damaged()
    assert told == ["side waits for main", "on side", "made", "back", "main waits for side"]


def test_on_the_cpu_both_would_want_the_same_cores() -> None:
    assert not worthwhile("cpu")
    assert all(map(worthwhile, ("cuda", "cuda:1", "mps", "xpu")))
