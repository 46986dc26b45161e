"""Training as it runs on CUDA, on the CPU too where it can, so that the checks are known to hold here at least."""

from __future__ import annotations

import dataclasses
import socket

import pytest
import torch
from torch import distributed as dist

from pemn_compress.data import Splits
from pemn_compress.train import distributed, loop
from pemn_compress.train.batches import TrainBatches
from pemn_compress.train.building import build_model
from pemn_compress.train.loop import fit
from pemn_compress.train.run_config import RunConfig

cuda = pytest.param(
    "cuda", marks=[pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]
)


@pytest.mark.parametrize("device", [cuda])  # on the CPU, compiling takes a compiler and a minute
@pytest.mark.parametrize("amp", ["off", "auto"])
@pytest.mark.filterwarnings("ignore:TensorFloat32 tensor cores")
def test_compiled(tiny: RunConfig, digits: Splits, device: str, amp: str) -> None:
    train = dataclasses.replace(tiny.train, device=device, compile=True, amp=amp)
    result = fit(build_model(tiny, digits.spec.to_input()), digits, train)
    assert result.test.accuracy > 40  # a guess is right in 10


@pytest.mark.parametrize("device", ["cpu", cuda])
def test_workers_keep_batches_in_pinned_memory(tiny: RunConfig, digits: Splits, device: str) -> None:
    train = dataclasses.replace(tiny.train, device=device, workers=1, erasing=0.1)
    batches = TrainBatches(digits.train, digits.spec, train, torch.device(device))
    assert batches._loader is not None
    for images, labels in batches._loader:
        assert images.is_pinned() is labels.is_pinned() is (device == "cuda")
    for images, labels in batches.epoch(1):
        assert images.device.type == labels.device.type == device
    result = fit(build_model(tiny, digits.spec.to_input()), digits, train)
    assert result.test.accuracy > 40


@pytest.mark.parametrize("workers", [None, 0])
@pytest.mark.parametrize("device", ["meta", cuda])
def test_images_of_every_epoch_lie_on_the_device(
    tiny: RunConfig, digits: Splits, device: str, workers: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = {}

    def measured(model: object, splits: Splits, watched: object, *_: object) -> None:
        seen.update({name: getattr(splits, name).pixels.device.type for name in ("validation", "test")})
        raise KeyboardInterrupt

    monkeypatch.setattr(loop, "measure", measured)
    if device == "meta":  # where nothing can be computed, but images can lie
        monkeypatch.setattr(loop._Training, "_train", lambda self, epoch: (0.0, 0.0, 0.0))
        monkeypatch.setattr(loop, "TrainBatches", lambda *_: None)
        monkeypatch.setattr(loop, "check_model", lambda *_: None)
        monkeypatch.setattr(loop, "resolve_device", lambda _: torch.device("meta"))
        monkeypatch.setattr(loop, "place_", lambda *_: False)
    train = dataclasses.replace(tiny.train, device=device, workers=workers)
    with pytest.raises(KeyboardInterrupt):
        fit(build_model(tiny, digits.spec.to_input()), digits, train)
    assert seen == {"validation": device if workers is None else "cpu", "test": "cpu"}


@pytest.mark.parametrize("device", ["cpu", cuda])
def test_one_process_in_a_group(tiny: RunConfig, digits: Splits, device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """gloo on the CPU, nccl on CUDA."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0"}
    for name, value in place.items():
        monkeypatch.setenv(name, value)
    train = dataclasses.replace(tiny.train, device=device)
    with distributed.process_group():
        assert dist.get_backend(dist.group.WORLD) is not None
        value = torch.ones(3, device=device)
        assert distributed.sum_(value).tolist() == [1, 1, 1]
        result = fit(build_model(tiny, digits.spec.to_input()), digits, train)
    assert not dist.is_initialized()
    assert result.test.accuracy > 40  # a guess is right in 10
    if device == "cpu":
        assert result.test == fit(build_model(tiny, digits.spec.to_input()), digits, train).test
