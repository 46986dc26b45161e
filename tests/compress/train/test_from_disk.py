"""Training on images that stay in their files is training on the same images in memory, with few of them decoded."""

from __future__ import annotations

import dataclasses
import pickle
import threading
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader

from pemn_compress.data import Splits, decode, load_data
from pemn_compress.data.files import ImageFiles, UnreadableImageError
from pemn_compress.export import export_run
from pemn_compress.train import workers
from pemn_compress.train.batches import TrainBatches
from pemn_compress.train.config import TrainConfig
from pemn_compress.train.distributed import Ranks
from pemn_compress.train.evaluate import evaluate
from pemn_compress.train.job import resume, start
from pemn_compress.train.run import RunFolder
from pemn_compress.train.run_config import RunConfig
from pemn_formats.errors import PemnError

CPU = torch.device("cpu")
PER_IMAGE = TrainConfig(batch_size=8, crop_scale=0.6, randaugment_n=1, erasing=0.5)
SHIFTED = TrainConfig(batch_size=8, shift=2, flip=True)

# fork beside other threads, and more workers than cores, are of no matter here
pytestmark = [
    pytest.mark.filterwarnings("ignore:This process:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:This DataLoader will create"),
]


@pytest.fixture
def top(tmp_path: Path) -> Path:
    """Two classes of pictures: bright above or below, 20 each to train on and 5 to test."""
    rng = np.random.default_rng(1)
    for label, name in enumerate(("above", "below")):
        for part, count in (("train", 20), ("test", 5)):
            (tmp_path / part / name).mkdir(parents=True)
            for index in range(count):
                pixels = rng.integers(0, 120, (8, 8, 3), dtype=np.uint8)
                pixels[4 * label : 4 * label + 4] += 120
                Image.fromarray(pixels).save(tmp_path / part / name / f"{index:02}.png")
    return tmp_path


@pytest.fixture
def inside(top: Path) -> Splits:
    return load_data(f"folder:{top}")


@pytest.fixture
def outside(top: Path) -> Splits:
    return load_data(f"folder:{top}", from_disk=True)


def epoch(splits: Splits, config: TrainConfig, part: Ranks | None = None, device: torch.device = CPU) -> list[Tensor]:
    batches = TrainBatches(splits.train, splits.spec, config, device, part)
    return [each for batch in batches.epoch(1) for each in batch]


def same(first: list[Tensor], second: list[Tensor]) -> bool:
    return len(first) == len(second) > 0 and all(a.equal(b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("count", [None, 0, 2])
@pytest.mark.parametrize("config", [PER_IMAGE, SHIFTED], ids=["per image", "shifted"])
def test_batches_are_those_of_workers_in_memory(
    inside: Splits, outside: Splits, config: TrainConfig, count: int | None
) -> None:
    wanted = epoch(inside, dataclasses.replace(config, workers=0))
    assert same(epoch(outside, dataclasses.replace(config, workers=count)), wanted)


def test_processes_share_the_batches(inside: Splits, outside: Splits) -> None:
    config = dataclasses.replace(PER_IMAGE, workers=0)
    for rank in range(2):
        assert same(epoch(outside, config, part=Ranks(rank, 2)), epoch(inside, config, part=Ranks(rank, 2)))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("config", [PER_IMAGE, SHIFTED], ids=["per image", "shifted"])
def test_batches_on_a_gpu_wait_in_pinned_memory(inside: Splits, outside: Splits, config: TrainConfig) -> None:
    config, place = dataclasses.replace(config, workers=1), torch.device("cuda")
    found = epoch(outside, config, device=place)
    assert found[0].device.type == "cuda"
    assert same(found, epoch(inside, config, device=place))


def test_workers_need_no_copy_of_this_process(outside: Splits) -> None:
    loader = TrainBatches(outside.train, outside.spec, PER_IMAGE, CPU)._loader
    assert isinstance(loader, DataLoader)
    sent = pickle.loads(pickle.dumps(loader.dataset))
    assert sent[3, 5][0].equal(loader.dataset[3, 5][0])


def test_there_are_as_many_workers_as_processors_up_to_eight(monkeypatch: pytest.MonkeyPatch) -> None:
    for processors, together, expected in ((1, 1, 1), (3, 1, 3), (64, 1, 8), (8, 2, 4), (2, 4, 1)):
        monkeypatch.setattr(workers.os, "sched_getaffinity", lambda _, n=processors: set(range(n)), raising=False)
        monkeypatch.setenv("LOCAL_WORLD_SIZE", str(together))
        assert workers.default_workers() == expected


def classifier() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(192, 2))


@pytest.mark.parametrize("batch_size", [3, 512])
def test_evaluation_is_that_of_the_images_in_memory(inside: Splits, outside: Splits, batch_size: int) -> None:
    found = [
        evaluate(classifier(), each.train, each.spec, batch_size=batch_size).to_dict() for each in (inside, outside)
    ]
    assert found[0] == found[1]


@pytest.mark.parametrize("count", [0, 2])
def test_a_file_that_cannot_be_read_ends_the_epoch_in_one_line(top: Path, outside: Splits, count: int) -> None:
    (top / "train" / "below" / "07.png").write_bytes(b"gone")
    for each in (PER_IMAGE, SHIFTED):
        said = ""
        try:  # not pytest.raises, which would keep the workers waiting for the garbage collector
            epoch(outside, dataclasses.replace(each, workers=count))
        except UnreadableImageError as error:
            said = str(error)
        reason = "cannot identify image file 'the file'"
        assert said == f"{top}: image train/below/07.png cannot be read ({reason}); repair it"


@pytest.fixture
def options(top: Path, tiny: RunConfig) -> RunConfig:
    train = dataclasses.replace(tiny.train, batch_size=8, flip=True, workers=0)
    return dataclasses.replace(tiny, data=f"folder:{top}", limit_train=24, from_disk=True, train=train)


def weights(run: RunFolder) -> dict[str, Any]:
    return run.build_model().state_dict()


def test_a_run_learns_what_one_in_memory_does_and_exports(options: RunConfig, tmp_path: Path) -> None:
    runs = []
    for name, from_disk in (("inside", False), ("outside", True)):
        job = start(dataclasses.replace(options, from_disk=from_disk), runs=tmp_path / "runs", name=name)
        result = job.train().to_dict()
        report = export_run(job.run, tmp_path / f"{name}.pemn").to_dict()
        runs.append((weights(job.run), {**result, "seconds": 0}, report["logits"], report["before"]))
    (first, *others), (second, *same_others) = runs
    assert others == same_others
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_run_that_met_a_bad_file_goes_on_once_it_is_repaired(options: RunConfig, top: Path, tmp_path: Path) -> None:
    whole = start(options, runs=tmp_path / "runs", name="whole")
    wanted = whole.train()
    stopped = start(options, runs=tmp_path / "runs", name="stopped")
    validation = stopped.splits.validation.pixels
    assert isinstance(validation, ImageFiles)
    file = top / validation.name(0)
    data = file.read_bytes()
    file.write_bytes(data[:60])
    with pytest.raises(PemnError, match=f"image {validation.name(0)} cannot be read"):
        stopped.train()
    file.write_bytes(data)
    found = resume(RunFolder.open(tmp_path / "runs" / "stopped")).train()
    assert dataclasses.replace(found, seconds=0) == dataclasses.replace(wanted, seconds=0)


def test_a_trial_for_a_budget_reads_from_disk(
    options: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    alive = Alive(monkeypatch)
    train = dataclasses.replace(options.train, epochs=20)
    wanted = dataclasses.replace(options, model_args={}, budget=4_000, train=train)
    job = start(wanted, runs=tmp_path / "runs", note=said.append)
    assert said[0].startswith("trying mlp with ")
    assert said[-1].startswith("the masks took ")
    assert job.splits.train.from_disk
    assert alive.most > 0


class Alive:
    """Counts the decoded images that are in memory at once."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = self.most = 0
        self._lock = threading.Lock()
        read, empty = ImageFiles.read, decode._empty
        monkeypatch.setattr(ImageFiles, "read", lambda files, index: self._seen(read(files, index), 1))
        monkeypatch.setattr(decode, "_empty", lambda files, count: self._seen(empty(files, count), count))

    def _seen(self, array: Any, images: int) -> Any:
        self._add(images)
        weakref.finalize(array, self._add, -images)
        return array

    def _add(self, images: int) -> None:
        with self._lock:
            self.now += images
            self.most = max(self.most, self.now)


def test_memory_does_not_grow_with_the_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 3,000 images, 37 MB, a few batches are decoded at a time: to describe, to train on and to evaluate them."""
    one = tmp_path / "one.bmp"
    Image.fromarray(np.arange(64 * 64 * 3, dtype=np.uint32).astype(np.uint8).reshape(64, 64, 3)).save(one)
    data = one.read_bytes()
    for part, name, count in (("train", "a", 1500), ("train", "b", 1500), ("test", "a", 2), ("test", "b", 2)):
        (tmp_path / part / name).mkdir(parents=True)
        for index in range(count):
            (tmp_path / part / name / f"{index}.bmp").write_bytes(data)
    alive = Alive(monkeypatch)
    splits = load_data(f"folder:{tmp_path}", from_disk=True, validation=0)
    assert len(splits.train) == 3000
    batches = TrainBatches(splits.train, splits.spec, TrainConfig(batch_size=50, flip=True, workers=0), CPU)
    assert sum(len(labels) for _, labels in batches.epoch(0)) == 3000
    model = nn.Sequential(nn.AvgPool2d(64), nn.Flatten(), nn.Linear(3, 2))
    assert evaluate(model, splits.train, splits.spec, batch_size=64).count == 3000
    assert 50 <= alive.most <= 3 * 64 + 16
