"""`--effort`: every command that writes a file passes it on, and the content stays the same."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pemn_cli.options import effort_option
from pemn_formats import codecs, writer
from pemn_formats.codecs import EFFORTS
from pemn_formats.reader import Reader


@pytest.fixture
def tried(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The efforts that files were written with."""
    efforts: set[str] = set()
    encoders = writer.encoders

    def noted(effort: str, known: Any, **options: int) -> Any:
        efforts.add(effort)
        return encoders(effort, known, **options)

    monkeypatch.setattr(writer, "encoders", noted)
    return efforts


def identity(path: Path) -> str:
    with Reader.open(path) as reader:
        return reader.content_id()


@pytest.mark.parametrize("effort", EFFORTS)
def test_bundle_delta_and_apply(
    effort: str, digits_file: Path, tmp_path: Path, run: Callable[..., Any], tried: set[str]
) -> None:
    both, patch, new = (tmp_path / f"{name}.pemn" for name in ("both", "patch", "new"))
    for arguments in (
        ["bundle", both, f"a={digits_file}", f"b={digits_file}"],
        ["delta", digits_file, digits_file, patch],
        ["apply", digits_file, patch, new],
    ):
        tried.clear()
        assert run(*arguments, "--effort", effort).code == 0
        assert tried == {effort}
    assert identity(new) == identity(digits_file)


def test_export(trained_runs: Path, tmp_path: Path, run: Callable[..., Any], tried: set[str]) -> None:
    ids = set()
    for effort in EFFORTS:
        tried.clear()
        out = tmp_path / f"{effort}.pemn"
        options = ["--runs-dir", trained_runs, "--run", "masked", "--no-eval", "--json"]
        result = run("export", out, *options, "--effort", effort)
        assert result.code == 0, result.err
        ids.add(json.loads(result.out)["content_id"])
        assert tried == {effort}
    assert len(ids) == 1


def test_export_says_where_masks_are_stored_to_load_fast(
    trained_runs: Path, tmp_path: Path, run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ["--runs-dir", trained_runs, "--run", "masked", "--no-eval"]
    advice = "--effort smallest may take fewer bytes"
    assert advice not in run("export", tmp_path / "small.pemn", *options).out
    monkeypatch.setattr(codecs, "MOST_BALANCED_BITS", 100)
    assert advice in run("export", tmp_path / "large.pemn", *options).out
    for effort in ("fast", "smallest"):
        assert advice not in run("export", tmp_path / f"{effort}.pemn", *options, "--effort", effort).out
    result = run("export", tmp_path / "again.pemn", *options, "--json")
    assert json.loads(result.out)["could_be_smaller"]


def test_the_commands_know_the_choices_of_the_library() -> None:
    option = effort_option(lambda: None).__click_params__[0]  # type: ignore[attr-defined]
    assert tuple(option.type.choices) == EFFORTS
    assert option.default == EFFORTS[0]
