"""The benchmarks of what masks cost in training: time and memory."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from benchmarks import mask_cost, readme_training, training_cases, training_memory
from pemn_compress.straight_through_many import StraightThroughFixed


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(torch, "set_num_threads", lambda count: None)
    nets = {"tiny": lambda: training_cases.build("convmixer", dim=24, depth=2, kernel=3, patch=8, classes=10)}
    for module in (mask_cost, training_cases, training_memory):
        monkeypatch.setattr(module, "NETS", nets)
    return "tiny"


def test_every_case_takes_turns_with_the_dense_net(
    tiny: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mask_cost.main(["--nets", tiny, "--batches", "4", "2", "--repeats", "3", "--out", str(tmp_path / "a.json")])
    found = json.loads((tmp_path / "a.json").read_text())["measured"]
    assert [(each["net"], each["batch"]) for each in found] == [(tiny, 2), (tiny, 4)]
    for each in found:
        assert each["cases"].keys() == training_cases.CASES.keys()
        assert each["cases"]["dense"]["over_dense"]["median"] == 1.0
        assert each["cases"]["dense"]["masks_alone_ms"] is None
        assert each["cases"]["topk keep"]["masks_alone_ms"]["median"] > 0
    assert "threshold keep" in capsys.readouterr().out


@pytest.mark.parametrize("own_loop", [False, True])
def test_autograd_goes_back_through_masks_in_a_loop_of_ones_own_only(
    own_loop: bool, tiny: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    real = StraightThroughFixed.apply
    monkeypatch.setattr(StraightThroughFixed, "apply", lambda *found: (calls.append(1), real(*found))[1])
    model = training_cases.build_case(tiny, "threshold keep")
    training_cases.training_step(model, 2, "cpu", own_loop=own_loop)()
    mask_cost.masks_alone(model, own_loop=own_loop)()
    assert len(calls) == (2 if own_loop else 0)
    assert all(score.grad is not None for score, _ in training_cases.weight_of(model))
    assert mask_cost.measure(tiny, 2, torch.device("cpu"), 1, limit=9.0, own_loop=own_loop)
    assert bool(calls[2:]) == own_loop


def test_batches_that_take_too_long_are_left_out(tiny: str) -> None:
    assert mask_cost.measure(tiny, 2, torch.device("cpu"), 3, limit=0.0) is None


def test_the_sort_is_compared_with_topk_before_it_is_timed(tiny: str, monkeypatch: pytest.MonkeyPatch) -> None:
    mask_cost.check_equal_masks(tiny)
    monkeypatch.setattr(training_cases, "upper_half", torch.abs)
    with pytest.raises(mask_cost.PemnError, match="tiny: the sort gives another mask than topk"):
        mask_cost.check_equal_masks(tiny)


@pytest.mark.parametrize("case", [case for case in training_cases.CASES if case != training_cases.SORT])
def test_training_takes_at_most_two_values_a_masked_weight_more(tiny: str, case: str) -> None:
    model = training_cases.build_case(tiny, "threshold keep")
    masked = sum(score.numel() for score, _ in training_cases.weight_of(model))
    dense, found = (training_memory.peak_bytes(tiny, each, 2, torch.device("cpu")) for each in ("dense", case))
    room = 4 * 64 * 24 * (case != "dense")  # a scale a channel, and what a vector takes
    assert found <= dense + 2 * 4 * masked + room
    assert (found > dense) == (case != "dense")


def test_a_learned_scale_takes_at_most_three_values_a_channel_beyond_that(tiny: str) -> None:
    cases = ("dense", "threshold keep, channel scale")
    dense, learned = (training_memory.peak_bytes(tiny, each, 2, torch.device("cpu")) for each in cases)
    scores = [score for score, _ in training_cases.weight_of(training_cases.build_case(tiny, "threshold keep"))]
    masked, channels = sum(score.numel() for score in scores), sum(len(score) for score in scores)
    last = 10  # the gradient of the last layer's scale, which exists when the most is held
    assert dense < learned <= dense + 4 * (2 * masked + 3 * channels + last)


def test_the_readme_names_every_step_over_its_limit() -> None:
    found = json.loads((training_memory.RESULTS / "mask_cost.json").read_text())
    text = readme_training.mask_cost(found)
    for each in found["measured"]:
        _, _, behind = text.partition(f"{each['net']} at batch {each['batch']} (")
        named = behind.partition(")")[0].split(", ")
        for case, limit in readme_training.LIMITS.items():
            cost = each["cases"][case]["over_dense"]["median"]
            short = case.removeprefix("threshold ").removesuffix(" keep")
            assert (f"{short} {cost:.3f}" in named) == (cost > limit), (each["net"], each["batch"], case)
