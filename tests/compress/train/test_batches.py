from __future__ import annotations

import dataclasses
import gc
import multiprocessing

import pytest
import torch
from torch import Tensor

from pemn_compress.data import DataSpec, ImageSet, normalise
from pemn_compress.train import batches
from pemn_compress.train.batches import TrainBatches
from pemn_compress.train.config import TrainConfig
from pemn_compress.train.distributed import Ranks
from pemn_formats.errors import PemnError

CPU = torch.device("cpu")
PLAIN = TrainConfig(batch_size=8)
PER_IMAGE = TrainConfig(batch_size=8, randaugment_n=1, erasing=0.5)


def collect(images: ImageSet, spec: DataSpec, config: TrainConfig, epoch: int) -> tuple[Tensor, Tensor]:
    found = list(TrainBatches(images, spec, config, CPU).epoch(epoch))
    return torch.cat([pixels for pixels, _ in found]), torch.cat([labels for _, labels in found])


def test_every_image_comes_once_normalised_with_its_label(images: ImageSet, spec: DataSpec) -> None:
    images = images.subset(range(32))
    pixels, labels = collect(images, spec, PLAIN, 0)
    expected = normalise(images.images, spec)
    found = [int((expected == image).flatten(1).all(1).nonzero()) for image in pixels]
    assert sorted(found) == list(range(32))
    assert found != list(range(32))
    assert labels.equal(images.labels[found])


def test_a_last_batch_of_one_image_is_dropped_and_of_two_is_kept(images: ImageSet, spec: DataSpec) -> None:
    assert TrainBatches(images, spec, PLAIN, CPU).steps == 4
    assert [len(labels) for _, labels in TrainBatches(images, spec, PLAIN, CPU).epoch(0)] == [8, 8, 8, 8]
    config = dataclasses.replace(PLAIN, batch_size=31)
    assert [len(labels) for _, labels in TrainBatches(images, spec, config, CPU).epoch(0)] == [31, 2]


@pytest.mark.parametrize("config", [dataclasses.replace(PLAIN, shift=2, flip=True), PER_IMAGE])
def test_batches_are_a_function_of_seed_and_epoch(images: ImageSet, spec: DataSpec, config: TrainConfig) -> None:
    first, again = collect(images, spec, config, 1)[0], collect(images, spec, config, 1)[0]
    assert first.equal(again)
    assert not first.equal(collect(images, spec, config, 2)[0])
    assert not first.equal(collect(images, spec, dataclasses.replace(config, seed=1), 1)[0])


def test_an_epoch_does_not_depend_on_those_before_it(images: ImageSet, spec: DataSpec) -> None:
    training = TrainBatches(images, spec, PER_IMAGE, CPU)
    for epoch in range(3):
        last = torch.cat([pixels for pixels, _ in training.epoch(epoch)])
    assert last.equal(collect(images, spec, PER_IMAGE, 2)[0])


@pytest.mark.parametrize("size", [2, 5, 33])
def test_an_image_changes_the_same_way_in_batches_of_any_size(images: ImageSet, spec: DataSpec, size: int) -> None:
    numbered = ImageSet(images.images, torch.arange(33))
    whole, order = collect(numbered, spec, dataclasses.replace(PER_IMAGE, batch_size=16), 1)
    other, other_order = collect(numbered, spec, dataclasses.replace(PER_IMAGE, batch_size=size), 1)
    known = dict(zip(order.tolist(), whole, strict=True))
    both = [place for place in other_order.tolist() if place in known]
    assert len(both) > 30
    found = dict(zip(other_order.tolist(), other, strict=True))
    assert all(known[place].equal(found[place]) for place in both)


def test_many_batches_augmented_together_are_those_augmented_alone(
    images: ImageSet, spec: DataSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    together = collect(images, spec, PER_IMAGE, 0)
    monkeypatch.setattr(batches, "_AT_ONCE", {"cpu": 1})
    alone = collect(images, spec, PER_IMAGE, 0)
    assert together[0].equal(alone[0])
    assert together[1].equal(alone[1])


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:This DataLoader will create")  # on a machine of one core
def test_the_number_of_workers_changes_nothing(images: ImageSet, spec: DataSpec) -> None:
    alone = TrainBatches(images, spec, dataclasses.replace(PER_IMAGE, workers=0), CPU)
    helped = TrainBatches(images, spec, dataclasses.replace(PER_IMAGE, workers=2), CPU)
    for epoch in range(2):
        for (left, left_labels), (right, right_labels) in zip(alone.epoch(epoch), helped.epoch(epoch), strict=True):
            assert left.equal(right)
            assert left_labels.equal(right_labels)


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:This DataLoader will create")
def test_workers_end_with_their_batches(images: ImageSet, spec: DataSpec) -> None:
    """Left to the garbage collector, each would be waited for in vain for five seconds."""
    before = set(multiprocessing.active_children())
    training = TrainBatches(images, spec, dataclasses.replace(PER_IMAGE, workers=1), CPU)
    gc.disable()
    try:
        assert len(list(training.epoch(0))) == training.steps
        (worker,) = set(multiprocessing.active_children()) - before
        del training
        assert not worker.is_alive()
    finally:
        gc.enable()


@pytest.mark.parametrize("size", [2, 3])
def test_processes_change_images_as_one_process_does(images: ImageSet, spec: DataSpec, size: int) -> None:
    alone = list(TrainBatches(images, spec, PER_IMAGE, CPU).epoch(1))
    shared = [list(TrainBatches(images, spec, PER_IMAGE, CPU, Ranks(rank, size)).epoch(1)) for rank in range(size)]
    for step, (pixels, labels) in enumerate(alone):
        assert torch.cat([mine[step][0] for mine in shared]).equal(pixels)
        assert torch.cat([mine[step][1] for mine in shared]).equal(labels)


def test_shifts_are_the_same_with_images_kept_on_the_host(images: ImageSet, spec: DataSpec) -> None:
    config = dataclasses.replace(PLAIN, shift=2, flip=True)
    here, there = (collect(images, spec, dataclasses.replace(config, workers=count), 0) for count in (None, 2))
    assert here[0].equal(there[0])
    assert here[1].equal(there[1])


def test_a_device_without_room_is_named(images: ImageSet, spec: DataSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> Tensor:
        raise torch.OutOfMemoryError("no memory")

    monkeypatch.setattr(Tensor, "to", full)
    with pytest.raises(PemnError, match=r"33 images take 0.0 GiB, which cpu does not have free; keep them in"):
        TrainBatches(images, spec, PLAIN, CPU)


def test_batches_leave_torchs_random_state_alone(images: ImageSet, spec: DataSpec) -> None:
    before = torch.get_rng_state()
    collect(images, spec, PER_IMAGE, 0)
    assert torch.get_rng_state().equal(before)


def test_one_image_is_too_few(images: ImageSet, spec: DataSpec) -> None:
    with pytest.raises(PemnError, match=r"training needs at least 2 images, found 1"):
        TrainBatches(images.subset([0]), spec, PLAIN, CPU)


def test_a_shift_as_large_as_the_image_is_refused(images: ImageSet, spec: DataSpec) -> None:
    with pytest.raises(PemnError, match=r"shift must be below the image size 8, found 8"):
        TrainBatches(images, spec, TrainConfig(shift=8), CPU)
