"""`export`: the best epoch of a run as a file, checked to load back equal."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pemn_compress.config import MaskConfig
from pemn_compress.export import check_equal, export_run
from pemn_compress.loading import load_file
from pemn_compress.masking import mask_
from pemn_compress.models import build
from pemn_compress.saving import to_content
from pemn_compress.train.run import RunFolder
from pemn_formats.content import Content
from pemn_formats.errors import PemnError
from pemn_formats.reader import Reader


def exported(run: Callable[..., Any], runs: Path, out: Path, *options: str) -> dict[str, Any]:
    result = run("export", out, "--runs-dir", runs, "--run", "masked", "--json", *options)
    assert result.code == 0, result.err
    report: dict[str, Any] = json.loads(result.out)
    return report


def test_accuracy_before_and_after(trained_runs: Path, tmp_path: Path, run: Callable[..., Any]) -> None:
    report = exported(run, trained_runs, tmp_path / "a.pemn")
    trained = RunFolder.open(trained_runs / "masked").result
    assert trained is not None
    assert report["before"] == pytest.approx(trained["test"])
    assert report["after"]["correct"] == pytest.approx(report["before"]["correct"], abs=3)
    assert report["ledger"]["file_bytes"] == (tmp_path / "a.pemn").stat().st_size


def test_lossless_changes_nothing(trained_runs: Path, tmp_path: Path, run: Callable[..., Any]) -> None:
    report = exported(run, trained_runs, tmp_path / "a.pemn", "--lossless")
    assert report["before"] == report["after"]


def test_every_masked_tensor_is_the_trained_one(trained_runs: Path, tmp_path: Path, run: Callable[..., Any]) -> None:
    exported(run, trained_runs, tmp_path / "a.pemn", "--no-eval")
    model = RunFolder.open(trained_runs / "masked").build_model()
    loaded = load_file(tmp_path / "a.pemn")
    with torch.no_grad():
        assert torch.equal(model.patch.weight.view(torch.int32), loaded["patch.weight"].view(torch.int32))


def test_the_newest_run_is_the_default(trained_runs: Path, tmp_path: Path, run: Callable[..., Any]) -> None:
    result = run("export", tmp_path / "a.pemn", "--runs-dir", trained_runs)
    assert result.code == 0, result.err
    assert "masked" in result.err
    assert "loads back equal: 4 masked tensors" in result.out
    assert "% before" in result.out


def test_a_run_by_its_path(trained_runs: Path, tmp_path: Path, run: Callable[..., Any]) -> None:
    assert run("export", tmp_path / "a.pemn", "--run", trained_runs / "masked", "--no-eval").code == 0


def test_no_eval_says_so(trained_runs: Path, tmp_path: Path, run: Callable[..., Any]) -> None:
    report = exported(run, trained_runs, tmp_path / "a.pemn", "--no-eval")
    assert (report["before"], report["after"], report["not_evaluated"]) == (None, None, "not asked for")
    assert (
        "accuracy not measured" in run("export", tmp_path / "b.pemn", "--run", trained_runs / "masked", "--no-eval").out
    )


@pytest.mark.parametrize(
    ("options", "dtype", "source"),
    [
        (["--residual-dtype", "float32"], "float32", "signed"),
        (["--lossless"], "float32", "signed"),
        (["--store", "vector"], "float16", "float32"),
        ([], "float16", "signed"),
    ],
)
def test_what_is_stored(
    options: list[str], dtype: str, source: str, trained_runs: Path, tmp_path: Path, run: Callable[..., Any]
) -> None:
    exported(run, trained_runs, tmp_path / "a.pemn", "--no-eval", *options)
    with Reader.open(tmp_path / "a.pemn") as reader:
        assert {entry.dtype for entry in reader.manifest.residual if entry.dtype != "int64"} == {dtype}
        assert {prototype.source for prototype in reader.manifest.prototypes} == {source}


def test_the_command_knows_the_choices_of_the_library() -> None:
    from pemn_cli.commands.export import command
    from pemn_compress.config import STORES
    from pemn_compress.residual import RESIDUAL_DTYPES
    from pemn_formats.codecs import EFFORTS

    choices = {each.name: tuple(each.type.choices) for each in command.params if hasattr(each.type, "choices")}
    assert choices == {"residual_dtype": RESIDUAL_DTYPES, "store": STORES, "effort": EFFORTS}


def test_the_same_run_gives_the_same_bytes(trained_runs: Path, tmp_path: Path, run: Callable[..., Any]) -> None:
    for name in ("a.pemn", "b.pemn"):
        exported(run, trained_runs, tmp_path / name, "--no-eval")
    assert (tmp_path / "a.pemn").read_bytes() == (tmp_path / "b.pemn").read_bytes()


def test_a_dense_run_is_refused(trained_runs: Path, tmp_path: Path, run: Callable[..., Any]) -> None:
    result = run("export", tmp_path / "a.pemn", "--runs-dir", trained_runs, "--run", "dense")
    assert result.code == 1
    assert "is a dense run" in result.err.splitlines()[-1]
    assert list(tmp_path.iterdir()) == []


def test_no_run_at_all(tmp_path: Path, assert_fails: Callable[..., str]) -> None:
    line = assert_fails(1, "export", tmp_path / "a.pemn", "--runs-dir", tmp_path / "runs")
    assert "pemn-compress train" in line
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_is_not_there(trained_runs: Path, tmp_path: Path, assert_fails: Callable[..., str]) -> None:
    assert "nothing" in assert_fails(1, "export", tmp_path / "a.pemn", "--runs-dir", trained_runs, "--run", "nothing")


def test_data_that_is_gone_is_no_reason_not_to_export(
    trained_runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = RunFolder.open(trained_runs / "masked")
    gone = replace(folder.options, data=f"folder:{tmp_path / 'gone'}")
    monkeypatch.setattr(RunFolder, "options", property(lambda _: gone))
    monkeypatch.setattr(folder, "build_model", lambda: masked_net(MaskConfig()))
    report = export_run(folder, tmp_path / "a.pemn")
    assert report.after is None
    assert "gone" in str(report.not_evaluated)
    assert report.path.is_file()


def masked_net(config: MaskConfig) -> torch.nn.Module:
    torch.manual_seed(0)
    net = build("convmixer", dim=8, depth=1, patch=2, kernel=3, channels=1, classes=10)
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight)
            torch.nn.init.uniform_(module.running_mean)
    return mask_(net, config).eval()


@pytest.mark.parametrize("scale", ["none", "tensor", "channel"])
@pytest.mark.parametrize("alphabet", ["keep", "sign", "ternary"])
def test_a_sound_export_is_found_equal(alphabet: str, scale: str) -> None:
    net = masked_net(MaskConfig(alphabet=alphabet, scale=scale))
    check_equal(net, to_content(net))


def test_a_wrong_bit_is_found() -> None:
    net = masked_net(MaskConfig())
    content = to_content(net)
    plane = content.masked[1].planes[0].copy()
    plane[0] ^= 1
    wrong = replace(content.masked[1], planes=(plane,))
    with pytest.raises(PemnError, match=f"would not load back: {wrong.name} differs"):
        check_equal(net, replace(content, masked=(content.masked[0], wrong, *content.masked[2:])))


def test_a_wrong_residual_value_is_found() -> None:
    net = masked_net(MaskConfig())
    content = to_content(net)
    entry = content.residual[0]
    values = np.nextafter(entry.values, np.float16(9))
    with pytest.raises(PemnError, match=f"would not load back: {entry.name} differs from the model's rounded values"):
        check_equal(net, replace(content, residual=(replace(entry, values=values), *content.residual[1:])))


def test_a_missing_tensor_is_found() -> None:
    net = masked_net(MaskConfig())
    content: Content = to_content(net)
    with pytest.raises(PemnError, match="is in the model only"):
        check_equal(net, replace(content, residual=content.residual[1:]))


def test_a_file_that_would_not_load_back_is_not_written(
    trained_runs: Path,
    tmp_path: Path,
    assert_fails: Callable[..., str],
    run: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: object) -> None:
        raise PemnError("the export would not load back: head.weight differs")

    monkeypatch.setattr("pemn_compress.export.check_equal", refuse)
    out = tmp_path / "a.pemn"
    out.write_bytes(b"the user's own")
    assert run("export", out, "--run", trained_runs / "masked", "--force").code == 1
    assert out.read_bytes() == b"the user's own"
    assert os.listdir(tmp_path) == ["a.pemn"]
