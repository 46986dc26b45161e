"""An output that cannot be put where it should go is found out first, in one line, and the old file stays."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(params=["export", "load", "size-report"])
def writer(request: pytest.FixtureRequest, trained_runs: Path, digits_file: Path) -> Callable[[Path], list[object]]:
    """The arguments with which a command writes to a path."""

    def arguments(output: Path) -> list[object]:
        if request.param == "export":
            return ["export", output, "--runs-dir", trained_runs]
        option = {"load": "--to", "size-report": "--plot"}[request.param]
        return [request.param, digits_file, option, output]

    return arguments


def test_an_existing_output_needs_force(
    writer: Callable[[Path], list[object]], tmp_path: Path, assert_fails: Callable[..., str], run: Callable[..., Any]
) -> None:
    output = tmp_path / "output.svg"
    output.write_text("the user's own")
    line = assert_fails(1, *writer(output))
    assert "exists" in line
    assert "--force" in line
    assert output.read_text() == "the user's own"
    run(*writer(output), "--force")
    assert output.read_bytes() != b"the user's own"
    assert not [each for each in tmp_path.iterdir() if each.name.endswith(".tmp")]


def test_a_folder_that_does_not_exist(
    writer: Callable[[Path], list[object]], tmp_path: Path, assert_fails: Callable[..., str]
) -> None:
    assert "does not exist" in assert_fails(1, *writer(tmp_path / "nowhere" / "output.svg"))


def test_an_output_that_is_a_folder(
    writer: Callable[[Path], list[object]], tmp_path: Path, assert_fails: Callable[..., str]
) -> None:
    folder = tmp_path / "folder.svg"
    folder.mkdir()
    assert "is a folder" in assert_fails(1, *writer(folder), "--force")


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a folder that not even root may write")
def test_a_folder_that_cannot_be_written(writer: Callable[[Path], list[object]], run: Callable[..., Any]) -> None:
    result = run(*writer(Path("/proc/output.svg")))
    assert (result.code, result.out) == (1, "")
    assert "cannot be written" in result.err.splitlines()[-1]
    assert result.err.count("error: ") == 1
