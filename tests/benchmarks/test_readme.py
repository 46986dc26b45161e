"""The README's numbers are those of the results, and what it promises exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

README = Path(__file__).parents[2] / "README.md"


def test_numbers_come_from_the_results() -> None:
    from benchmarks.readme import updated

    assert updated(README.read_text()) == README.read_text(), "run: python -m benchmarks.readme"


@pytest.mark.skipif(not (README.parent / "CITATION.cff").exists(), reason="not a checkout")
def test_linked_files_exist() -> None:
    links = re.findall(r"\]\((?!https?://)([^)#]+)\)", README.read_text())
    assert links
    assert [link for link in links if not (README.parent / link).exists()] == []


@pytest.mark.parametrize("target", ["demo", "test"])
def test_make_targets_exist(target: str) -> None:
    makefile = (README.parent / "Makefile").read_text()
    assert re.search(rf"^{target}:", makefile, re.MULTILINE)


def test_training_options_of_the_table_exist() -> None:
    """The table that maps the reference's options names options that `train` has."""
    from pemn_cli.commands.train import command

    known = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
    here = [line.split("|")[2] for line in README.read_text().splitlines() if line.startswith("| ") and "`--" in line]
    named = {option for cell in here for option in re.findall(r"--[a-z][a-z-]+", cell)}
    assert named - known == set()


def test_every_question_is_listed() -> None:
    folder = README.parent / "benchmarks"
    told = (folder / "README.md").read_text("utf-8")
    asked = {path.stem for path in folder.glob("*.py") if "__main__" in path.read_text("utf-8")} - {"readme"}
    assert len(asked) > 10
    assert {name for name in asked if f"`python -m benchmarks.{name}" not in told} == set()
    kept = {path.stem for path in (folder / "results").glob("*.json")}
    assert {name for name in re.findall(r"results/(\w+)\.json", told) if name not in {*kept, "NAME"}} == set()
