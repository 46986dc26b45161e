"""Several processes, one model: the arithmetic alone here, two real processes in `two_processes.py`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
import torch
import two_processes
from torch import nn

from pemn_compress.data import DataSpec
from pemn_compress.train import device, distributed
from pemn_compress.train.distributed import Ranks
from pemn_compress.train.job import resume, start
from pemn_compress.train.run import RunFolder
from pemn_formats.errors import PemnError

SCRIPT = Path(__file__).parent / "two_processes.py"


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], dict[str, Any], Path]:
    """What the two processes found, and the folder of their runs."""
    out = tmp_path_factory.mktemp("two")
    two_processes.cut_short(two_processes.noise_config(0), out / "runs", "begun by one", two_processes.CUT)
    line = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", SCRIPT, out]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, *map(str, line)], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    first, second = (json.loads((out / f"{rank}.json").read_text()) for rank in (0, 1))
    return first, second, out / "runs"


@pytest.mark.parametrize("size", [1, 2, 3, 8])
@pytest.mark.parametrize("count", [1, 2, 3, 5, 16, 33])
def test_parts_are_the_batch_and_weights_make_their_mean_its_mean(size: int, count: int) -> None:
    loss = torch.arange(count, dtype=torch.float64) ** 2
    everyone = [Ranks(rank, size) for rank in range(size)]
    taken = [range(count)[one.part(count)] for one in everyone if one.weight(count)]
    assert [index for part in taken for index in part] == list(range(count))
    assert all(len(range(count)[one.part(count)]) >= min(2, count) for one in everyone)
    mean = sum(one.weight(count) * loss[one.part(count)].mean() for one in everyone) / size
    assert float(mean) == pytest.approx(float(loss.mean()), rel=1e-12)


def test_alone_nothing_changes(spec: DataSpec) -> None:
    model, value = nn.BatchNorm1d(3), torch.ones(2)
    assert distributed.ranks() == Ranks(0, 1)
    assert distributed.replicate(model, spec) is distributed.settle_(model) is model
    assert distributed.sum_(value) is value
    assert distributed.from_first(lambda: 7) == distributed.on_all(lambda: 7) == 7
    assert distributed.Ranks().weight(33) == 1


def test_only_the_loss_of_a_process_is_explained() -> None:
    with pytest.raises(RuntimeError, match="a bug"), distributed.training_together():
        raise RuntimeError("a bug in /gloo/ while there is no other process")


@pytest.mark.slow
def test_gradients_are_those_of_one_process(both: Any) -> None:
    for found in both[:2]:
        assert found["begins_as_first"]
        assert 0 < found["gradient_error"] < 1e-5
        assert found["gradient_error_unused"] < 1e-5


@pytest.mark.slow
def test_gradients_of_later_layers_are_sent_while_the_backward_pass_goes_on(both: Any) -> None:
    for found in both[:2]:
        assert found["overlap"].index("sent") < found["overlap"].index("first")


@pytest.mark.slow
def test_masks_are_equal_to_the_bit_before_every_step_and_at_the_end(both: Any) -> None:
    first, second, _ = both
    assert len(first["steps"]) == len(set(first["steps"])) == 3 * 7
    for name in ("steps", "digest", "digest_overlap", "result", "digest_fit", "buffers_fit", "accuracies"):
        assert first[name] == second[name]


@pytest.mark.slow
def test_a_run_that_was_cut_ends_as_one_that_was_not(both: Any) -> None:
    for found in both[:2]:
        assert found["digest_resumed"] == found["digest"]


@pytest.mark.slow
def test_a_run_goes_on_with_another_number_of_processes(both: Any) -> None:
    first, second, runs = both
    for name in ("steps_joined", "digest_joined", "accuracy_joined"):
        assert first[name] == second[name]
    assert len(set(first["steps_joined"])) == 2 * 21
    assert "processes 1 (now 2)" in first["changed_joined"]
    parted = resume(RunFolder.open(runs / "begun by two")).train()
    for name, accuracy in (("begun by one", first["accuracy_joined"]), ("begun by two", parted.test.accuracy)):
        assert [record["epoch"] for record in RunFolder.open(runs / name).metrics()] == [1, 2, 3]
        assert accuracy > 85, name


@pytest.mark.slow
def test_statistics_of_both_processes_become_one(both: Any) -> None:
    first, second, _ = both
    for found in (first, second):
        assert found["mean_error"] < 1e-6
        # A moving average of 0.1 times the variance of 64 images, against that of their halves' mean variance.
        assert 0 < found["variance_error"] < 0.03
        assert found["batches"] == 1


@pytest.mark.slow
def test_one_process_writes_and_all_fail_alike(both: Any) -> None:
    first, second, runs = both
    assert (first["reports"], second["reports"]) == (3, 0)
    assert {path.name for path in runs.iterdir()} >= {"whole", "cut", "noise-0"}
    assert len((runs / "whole" / "metrics.jsonl").read_text().splitlines()) == 3
    for found in (first, second):
        assert found["from_first"] == "rank 0"
        assert found["first_fails"] == "process 0 has no data"
        assert found["second_fails"] == "process 1 has no data"
        assert found["too_small"] == "batch_size must be at least 4 for 2 processes, found 3"
        assert found["no_number"].startswith("the loss became nan in epoch 1, step 3 of 7: lower the learning rate")
        alone, together, difference = found["evaluation"]
        assert alone == together
        assert abs(difference) < 1e-5


@pytest.mark.slow
def test_accuracy_is_that_of_one_process_within_noise(both: Any, tmp_path: Path) -> None:
    """Over three seeds; one run's standard deviation is 1.2 points (ten seeds), so that of the difference is 1.0."""
    alone = [
        start(two_processes.noise_config(seed), runs=tmp_path).train().test.accuracy
        for seed in range(two_processes.SEEDS)
    ]
    assert fmean(both[0]["accuracies"]) == pytest.approx(fmean(alone), abs=4)


@pytest.mark.parametrize(
    ("name", "processes", "devices", "expected"),
    [
        ("auto", 2, 2, "cuda:1"),
        ("cuda", 2, 2, "cuda:1"),
        ("cpu", 2, 1, "cpu"),
        ("cuda:0", 1, 2, "cuda:0"),
        ("cuda:0", 2, 2, None),
        ("cuda", 2, 1, None),
    ],
)
def test_every_process_has_a_cuda_device_of_its_own(
    monkeypatch: pytest.MonkeyPatch, name: str, processes: int, devices: int, expected: str | None
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: devices)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: devices - 1)
    monkeypatch.setattr(device, "ranks", lambda: Ranks(1, processes))
    monkeypatch.setenv("LOCAL_WORLD_SIZE", str(processes))
    if expected is None:
        with pytest.raises(PemnError, match=f"{processes} processes need a CUDA device each, found device '{name}'"):
            device.resolve_device(name)
    else:
        assert str(device.resolve_device(name)) == expected
