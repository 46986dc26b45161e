"""What `export` rounds, how far it lets the logits move, and layers in eight bits from training to evaluation."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pemn_cli.commands.export import command
from pemn_compress.export import export_run
from pemn_compress.logits import DEFAULT_TOLERANCE
from pemn_compress.train.run import newest_run
from pemn_formats.errors import PemnError
from pemn_formats.reader import Reader


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose first and last layers stay dense."""
    from pemn_cli.main import main

    folder = tmp_path_factory.mktemp("runs")
    options = ["--epochs", "2", "--int8-layers", "first, last", "--run", "int8", "--runs-dir", str(folder)]
    with pytest.raises(SystemExit) as ended:
        main(["train", *options])
    assert ended.value.code == 0
    return folder


def exported(run: Callable[..., Any], runs: Path, path: Path, *options: object) -> dict[str, Any]:
    result = run("export", path, "--runs-dir", runs, "--json", *options)
    assert result.code == 0, result.err
    report: dict[str, Any] = json.loads(result.out)
    return report


def test_the_command_and_the_library_have_one_default() -> None:
    defaults = {each.name: each.default for each in command.params}
    assert defaults["tolerance"] == DEFAULT_TOLERANCE


def test_int8_layers_go_from_training_to_evaluation(runs: Path, tmp_path: Path, run: Callable[..., Any]) -> None:
    report = exported(run, runs, tmp_path / "a.pemn")
    assert report["masked_tensors"] == 1
    assert 0 < report["logits"]["relative"] < 0.1
    with Reader.open(tmp_path / "a.pemn") as reader:
        kinds = {entry.name: entry.kind for entry in reader.manifest.residual if entry.kind != "scale"}
    assert kinds["layers.0.fc.weight"] == kinds["head.weight"] == "int8"
    assert "int8 layers" in run("size-report", tmp_path / "a.pemn").out
    result = run("eval", tmp_path / "a.pemn", "--json")
    assert json.loads(result.out)["accuracy"] == pytest.approx(report["after"]["accuracy"])


@pytest.mark.parametrize("dtype", ["float16", "float32", "log8"])
def test_the_change_is_reported(dtype: str, runs: Path, tmp_path: Path, run: Callable[..., Any]) -> None:
    found = exported(run, runs, tmp_path / "a.pemn", "--residual-dtype", dtype)["logits"]
    assert (found["count"], found["source"]) == (256, "test images")
    assert found["relative"] == found["largest"] / found["deviation"]
    text = run("export", tmp_path / "b.pemn", "--runs-dir", runs, "--residual-dtype", dtype).out
    assert f"largest change of a logit: {found['relative']:.2g} standard deviations" in text
    assert "of 256 predictions changed (test images)" in text


@pytest.mark.parametrize(
    ("dtype", "finer"),
    [
        ("log8", "with residual dtype float16 or float32 or lossless"),
        ("float16", "with residual dtype float32 or lossless"),
        ("float32", "lossless"),
    ],
)
def test_what_is_advised_rounds_less(
    dtype: str, finer: str, runs: Path, tmp_path: Path, run: Callable[..., Any]
) -> None:
    options = ("--runs-dir", runs, "--residual-dtype", dtype, "--tolerance", "0")
    result = run("export", tmp_path / "a.pemn", *options)
    assert result.code == 1
    assert f"the tolerance is 0: store it {finer}, or raise the tolerance" in result.err


def test_nothing_changes_without_rounding(runs: Path, tmp_path: Path, run: Callable[..., Any]) -> None:
    assert exported(run, runs, tmp_path / "a.pemn", "--lossless")["logits"]["largest"] == 0


def test_without_evaluation_the_images_are_synthetic(runs: Path, tmp_path: Path, run: Callable[..., Any]) -> None:
    found = exported(run, runs, tmp_path / "a.pemn", "--no-eval")["logits"]
    assert (found["count"], found["source"]) == (64, "synthetic images")
    assert found["largest"] > 0


@pytest.mark.parametrize("options", [[], ["--no-eval"]])
def test_too_large_a_change_is_refused_and_nothing_written(
    options: list[str], runs: Path, tmp_path: Path, run: Callable[..., Any]
) -> None:
    out = tmp_path / "a.pemn"
    out.write_bytes(b"the user's own")
    given = ["--runs-dir", runs, "--residual-dtype", "log8", *options]
    result = run("export", out, *given, "--tolerance", "1e-6", "--force")
    assert (result.code, result.out) == (1, "")
    assert "error: rounding changes a logit by" in result.err.splitlines()[-1]
    assert "raise the tolerance" in result.err.splitlines()[-1]
    assert out.read_bytes() == b"the user's own"
    assert [path.name for path in tmp_path.iterdir()] == ["a.pemn"]
    assert run("export", out, *given, "--tolerance", "inf", "--force").code == 0


def test_without_loss_there_is_no_type_to_round_to(
    runs: Path, tmp_path: Path, assert_fails: Callable[..., str]
) -> None:
    options = ("--runs-dir", runs, "--lossless", "--residual-dtype", "log8")
    line = assert_fails(2, "export", tmp_path / "a.pemn", *options)
    assert "--residual-dtype rounds and --lossless rounds nothing; leave one of them out" in line
    with pytest.raises(PemnError, match="residual dtype float16 rounds, and lossless rounds nothing"):
        export_run(newest_run(runs), tmp_path / "a.pemn", residual_dtype="float16", lossless=True)
    assert not list(tmp_path.iterdir())


def test_a_negative_tolerance_is_wrong_usage(runs: Path, tmp_path: Path, run: Callable[..., Any]) -> None:
    assert run("export", tmp_path / "a.pemn", "--runs-dir", runs, "--tolerance", "-1").code == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--int8-layers", "haed"], r"the model has no layer 'haed' (did you mean 'head'?)"),
        (["--int8-layers", "first,last,layers.1.fc"], "int8_layers left out all 3"),
        (["--int8-layers", "first", "--regular"], "int8_layers is an option of masks"),
    ],
)
def test_layers_that_cannot_stay_dense(
    options: list[str], message: str, tmp_path: Path, assert_fails: Callable[..., str]
) -> None:
    code = 2 if "--regular" in options else 1
    assert message in assert_fails(code, "train", "--runs-dir", tmp_path / "runs", *options)
    assert not list((tmp_path / "runs").glob("*")) if (tmp_path / "runs").exists() else True


def test_a_run_goes_on_with_its_own_layers(runs: Path, run: Callable[..., Any]) -> None:
    assert run("train", "--runs-dir", runs, "--resume", "int8", "--int8-layers", "first,last").code == 0
    result = run("train", "--runs-dir", runs, "--resume", "int8", "--int8-layers", "first")
    assert result.code == 1
    assert "was started with int8_layers ('first', 'last')" in result.err
