"""Runs with a budget: planned, steered where they must be, and never exported larger."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from recorder import Recorder

from pemn_compress.config import MaskConfig
from pemn_compress.data.known import known_spec
from pemn_compress.export import ExportReport, export_run, foresee_export
from pemn_compress.masking import masked_weights
from pemn_compress.plan import planned
from pemn_compress.plan.bytes_of_a_net import bytes_of_a_net
from pemn_compress.saving import to_content
from pemn_compress.train.budget_control import BudgetControl
from pemn_compress.train.building import build_model
from pemn_compress.train.job import resume, start
from pemn_compress.train.presets import PRESETS, resolve
from pemn_compress.train.result import FitResult
from pemn_compress.train.run import RunFolder
from pemn_compress.train.run_config import RunConfig
from pemn_formats.errors import PemnError
from pemn_formats.foresight import header_bytes
from pemn_formats.manifest import manifest_of
from pemn_formats.writer import encode

SMALL: dict[str, Any] = {"data": "digits", "limit_train": 256, "epochs": 4, "batch_size": 32, "threads": 1}


def described() -> dict[str, Any]:
    spec = known_spec("digits")
    assert spec is not None
    return spec.to_input()


@pytest.mark.parametrize("model", ["mlp", "convmixer", "vit"])
@pytest.mark.parametrize("budget", [2_000, 4_000])
def test_a_file_uses_its_budget_and_no_more(tmp_path: Path, model: str, budget: int) -> None:
    job = start(resolve(None, {**SMALL, "epochs": 1, "model": model, "budget": budget}), runs=tmp_path, name="r")
    job.train()
    run = RunFolder.open(tmp_path / "r")
    assert run.options.budget == budget
    assert run.options.model_args == job.options.model_args
    report = export_run(run, tmp_path / "m.pemn", evaluate_on_test=False)
    assert 0.97 * budget <= (tmp_path / "m.pemn").stat().st_size <= budget
    assert report.budget == budget
    assert report.room == 0
    wide = export_run(run, tmp_path / "w.pemn", budget=3 * budget)
    assert wide.room > 0
    assert wide.ledger.masks * (1 + wide.room) ** 2 == pytest.approx(
        wide.ledger.masks + 3 * budget - wide.ledger.file_bytes
    )
    assert set(report.residual_dtypes) <= {"log8", "float16", "float32"}


@pytest.mark.parametrize(
    ("options", "least"),
    [
        ({"budget": 12_000}, 0.97),
        ({"budget": 12_000, "alphabet": "ternary"}, 0.97),
        ({"budget": 4_000, "int8_layers": ("last",)}, 0.97),
        ({"budget": 4_000, "scale": "channel"}, 0.97),
        ({"budget": 4_000, "rate": 0.1, "epochs": 12}, 0.97),
        ({"budget": 4_000, "learner": "topk", "density": 0.1}, 0.9),
        ({"budget": 4_000, "learner": "topk-global", "density": 0.05}, 0.9),
    ],
    ids=["masks that save much", "ternary", "int8", "scales", "rate", "fixed density", "one density for all"],
)
def test_whatever_masks_cost_a_budget_is_used(tmp_path: Path, options: dict[str, Any], least: float) -> None:
    run = _trained(tmp_path, "r", resolve(None, {"threads": 1, "epochs": 2, **options}))
    report = export_run(run, tmp_path / "m.pemn", evaluate_on_test=False)
    budget = options["budget"]
    assert least * budget <= report.ledger.file_bytes <= budget
    assert foresee_export(run) == (report.ledger.file_bytes, report.unfilled)
    assert bool(report.unfilled) == (report.ledger.file_bytes < 0.97 * budget)


def test_masks_are_steered_to_all_that_8_bit_layers_leave() -> None:
    options = resolve(None, {"model_args": {"hidden": 49}, "int8_layers": ("last",)})
    model = build_model(options, described())
    manifest = manifest_of(to_content(model, input=described(), residual_dtype="log8"))
    others = header_bytes(manifest) + manifest.residual_bytes
    assert BudgetControl(2_000, described())._target(model) == int(0.99 * 2_000) - others


def test_a_rate_gives_way_to_a_budget_that_decides() -> None:
    model = build_model(over_budget(), described())
    control = BudgetControl(9_000, described(), rate=0.1)
    assert {control.price(model, step, 100) for step in range(100)} == {0.0}
    assert BudgetControl(1_800, described(), rate=0.1).price(model, 0, 100) == 0.1


def over_budget(**options: Any) -> RunConfig:
    """A net whose masks must become smaller."""
    args = {"dim": 48, "depth": 2, "kernel": 3, "patch": 2}
    steps = {"epochs": 8, "limit_train": 1_000}
    return resolve(None, {**SMALL, **steps, "model": "convmixer", "model_args": args, **options})


@pytest.fixture(scope="module")
def steered(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run whose net takes more than its budget at one bit a weight."""
    return _trained(tmp_path_factory.mktemp("steered"), "r", over_budget(budget=1_800))


def test_a_net_that_is_too_large_is_steered(steered: RunFolder, tmp_path: Path) -> None:
    assert bytes_of_a_net(steered.options, steered.input).least.file > 1_850
    rates = [epoch["rate"] for epoch in steered.metrics()]
    assert rates[:3] == [0, 0, 0]
    assert max(rates) > 0
    report = export_run(steered, tmp_path / "b.pemn")
    assert 0.95 * 1_800 <= report.ledger.file_bytes <= 1_800
    assert report.after is not None
    assert report.after.accuracy > 80


def test_an_epoch_that_is_too_large_does_not_win(steered: RunFolder) -> None:
    assert BudgetControl(1_800, steered.input).file_bytes(steered.build_model()) <= 1_800
    assert steered.result is not None
    assert steered.result["best_epoch"] > 4


def test_a_steered_run_resumes_to_the_same_bits(steered: RunFolder, tmp_path: Path) -> None:
    cut = tmp_path / "cut"
    shutil.copytree(steered.path, cut)
    (cut / "result.json").unlink()
    sorted(cut.glob("checkpoint-*.pt"))[-1].unlink()
    resume(RunFolder.open(cut)).train()
    again = RunFolder.open(cut)
    bits = [run.build_model().state_dict() for run in (steered, again)]
    assert all(bool((bits[0][name] == bits[1][name]).all()) for name in bits[0])
    assert [each["rate"] for each in steered.metrics()] == [each["rate"] for each in again.metrics()]
    assert again.result is not None
    assert again.result["density"] == (steered.result or {})["density"]


def test_what_masks_may_take_outlives_a_resume() -> None:
    """The header of a ternary mask counts what it keeps, so that asked later there would be another target."""
    options = resolve("digits", {"alphabet": "ternary", "budget": 2_000, "model_args": {"hidden": 30}})
    model = build_model(options, described())
    control, resumed, late = (BudgetControl(2_000, described()) for _ in range(3))
    target = control._target(model)
    with torch.no_grad():
        for _, _, score in masked_weights(model):
            score.zero_()
    resumed.load_state_dict(control.state_dict())
    assert resumed._target(model) == target
    assert late._target(model) != target


def test_masks_are_coded_once_an_epoch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    coded: list[int] = []

    def count(*arguments: Any, **options: Any) -> bytes:
        coded.append(1)
        return encode(*arguments, **options)

    monkeypatch.setattr("pemn_compress.train.budget_control.encode", count)
    monkeypatch.setattr("pemn_compress.train.size_estimate.encode", count)
    job = start(over_budget(budget=1_900, epochs=24, limit_train=256), runs=tmp_path, name="r")
    watcher = Recorder()
    result = job.train(watcher)
    assert [report.estimated_bytes > 1_900 for report in watcher.epochs[-2:]] == [False, False]
    most = 24 + 1 + 3 * 10  # at the first step that steers, and the halvings of the three epochs that may be trimmed
    assert 24 <= len(coded) <= most
    assert result.fits


def test_a_run_from_before_budgets_resumes(tmp_path: Path) -> None:
    run = _trained(tmp_path, "r", resolve(None, {**SMALL, "epochs": 1}))
    (run.path / "result.json").unlink()
    state = run.newest_checkpoint(lambda line: None)
    assert state is not None
    del state["best"]["admitted"]
    run.save_checkpoint(state, 1)
    assert resume(RunFolder.open(run.path)).train().fits


def test_an_export_that_cannot_fit_says_so(tmp_path: Path) -> None:
    run = _trained(tmp_path, "r", resolve(None, {**SMALL, "epochs": 1, "budget": 2_000}))
    with pytest.raises(PemnError, match=r"more than the budget of 1,000 B; train a smaller net"):
        export_run(run, tmp_path / "m.pemn", budget=1_000, evaluate_on_test=False)
    with pytest.raises(PemnError, match=r"without loss, more than the budget of 2,000 B; leave lossless out"):
        export_run(run, tmp_path / "m.pemn", lossless=True, evaluate_on_test=False)
    with pytest.raises(PemnError, match=r"with float32, [\d,]+ B more"):
        export_run(run, tmp_path / "m.pemn", residual_dtype="float32", evaluate_on_test=False)
    assert not (tmp_path / "m.pemn").exists()
    assert export_run(run, tmp_path / "m.pemn", budget=9_000, evaluate_on_test=False).residual_dtypes == {"float32": 3}


def test_a_short_run_of_a_net_that_is_too_large_is_trimmed(tmp_path: Path) -> None:
    run = _trained(tmp_path, "r", over_budget(budget=1_800, epochs=1, limit_train=200))
    assert run.result is not None
    assert run.result["fits"]
    assert export_run(run, tmp_path / "b.pemn", evaluate_on_test=False).ledger.file_bytes <= 1_800


def test_a_run_none_of_whose_epochs_fits_says_so(tmp_path: Path) -> None:
    least = bytes_of_a_net(over_budget(), described()).fewest
    result = start(over_budget(budget=least, epochs=1, limit_train=200), runs=tmp_path, name="r").train()
    assert not result.fits
    assert not FitResult.from_dict(result.to_dict()).fits
    older = result.to_dict()
    del older["fits"]
    assert FitResult.from_dict(older).fits
    with pytest.raises(PemnError, match="more than the budget"):
        export_run(RunFolder.open(tmp_path / "r"), tmp_path / "b.pemn", evaluate_on_test=False)
    export_run(RunFolder.open(tmp_path / "r"), tmp_path / "b.pemn", budget=result.estimated_bytes)


def test_advice_about_rounding_is_for_the_budget(tmp_path: Path) -> None:
    run = _trained(tmp_path, "r", resolve(None, {**SMALL, "epochs": 1, "budget": 2_000}))
    with pytest.raises(PemnError, match=r"float16 takes [\d,]+ B, so raise the budget of 2,000 B to that") as refused:
        export_run(run, tmp_path / "m.pemn", tolerance=1e-3)
    needed = int(str(refused.value).partition("float16 takes ")[2].split()[0].replace(",", ""))
    assert needed > 2_000
    with pytest.raises(PemnError, match="residual dtype float32 or lossless"):
        export_run(run, tmp_path / "m.pemn", residual_dtype="float16", budget=needed, tolerance=0)
    assert set(export_run(run, tmp_path / "m.pemn", budget=needed).residual_dtypes) == {"float16"}


@pytest.mark.slow
def test_a_short_run_of_a_resnet_fits(tmp_path: Path) -> None:
    run = _trained(tmp_path, "r", resolve(None, {"model": "resnet", "budget": 6_000, "epochs": 6}))
    assert 0.97 * 6_000 <= export_run(run, tmp_path / "m.pemn").ledger.file_bytes <= 6_000


def test_the_dtype_of_a_run_is_that_of_its_export(tmp_path: Path) -> None:
    run = _trained(tmp_path, "r", resolve(None, {**SMALL, "epochs": 1, "residual_dtype": "log8"}))
    assert set(export_run(run, tmp_path / "a.pemn", evaluate_on_test=False).residual_dtypes) == {"log8"}
    other = export_run(run, tmp_path / "b.pemn", evaluate_on_test=False, residual_dtype="float32")
    assert set(other.residual_dtypes) == {"float32"}


def test_a_budget_replaces_the_width_and_depth_of_a_preset_but_not_a_persons() -> None:
    chosen = planned(resolve(None, {"budget": 3_000}), described())
    assert chosen.model_args != {"hidden": 128, "depth": 2}
    assert chosen.mask == resolve(None, {}).mask
    paper = planned(resolve("paper", {"budget": 6_000, "data": "digits"}), described())
    assert (paper.model_args["kernel"], paper.model_args["patch"]) == (5, 2)
    kept = planned(resolve(None, {"budget": 3_000, "model_args": {"depth": 1}}), described())
    assert kept.model_args["depth"] == 1
    assert planned(resolve(None, {}), described()) == resolve(None, {})


def test_a_preset_may_carry_a_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = {**PRESETS["digits"], "budget": 3_000, "model_args": {"depth": 1}}
    monkeypatch.setitem(PRESETS, "3kb", recipe)
    chosen = planned(resolve("3kb", {}), described())
    assert chosen.budget == 3_000
    assert chosen.model_args["depth"] == 1
    larger = planned(resolve("3kb", {"budget": 4_000}), described())
    assert int(larger.model_args["hidden"]) != int(chosen.model_args["hidden"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"budget": 100}, "a budget of 100 B is too small for any mlp on these images: the least takes"),
        ({"budget": 4_000, "regular": True}, "a regular run has none; leave --regular or --budget out"),
        (
            {"budget": 2_000, "model_args": {"hidden": 128}},
            "up to [0-9,]+ B .[0-9,]+ B at the fewest bits a weight., more than",
        ),
        (
            {"budget": 2_000, "model_args": {"hidden": 80}, "learner": "topk"},
            "more than the budget of 2,000 B; leave its width out",
        ),
        ({"budget": 0}, "budget must be a whole number of at least 1, found 0"),
        ({"residual_dtype": "int8"}, "unknown residual_dtype 'int8'; known: float16, float32, log8"),
    ],
)
def test_refusals(options: dict[str, Any], message: str) -> None:
    with pytest.raises(PemnError, match=message):
        planned(resolve(None, options), described())


def test_options_of_older_runs_are_read() -> None:
    fields = dataclasses.replace(RunConfig(), mask=MaskConfig(seed=3)).to_dict()
    del fields["budget"], fields["residual_dtype"]
    assert RunConfig.from_dict(fields) == RunConfig(mask=MaskConfig(seed=3))


def _trained(runs: Path, name: str, options: RunConfig) -> RunFolder:
    start(options, runs=runs, name=name).train()
    return RunFolder.open(runs / name)


@pytest.mark.parametrize(
    ("budget", "masks", "prototypes", "room"),
    [(40_000, 5_000, 27_000, 0.1), (40_000, 32_000, 0, 0.1), (31_500, 30_000, 0, 0.0), (None, 30_000, 0, 0.0)],
)
def test_what_would_fit_counts_values_that_grow_with_the_net(
    budget: int | None, masks: int, prototypes: int, room: float
) -> None:
    ledger = SimpleNamespace(masks=masks, prototypes=prototypes, file_bytes=masks + prototypes + 1_000)
    report = ExportReport.room.fget(SimpleNamespace(budget=budget, ledger=ledger))  # type: ignore[attr-defined]
    assert report == pytest.approx(room, abs=0.005)
