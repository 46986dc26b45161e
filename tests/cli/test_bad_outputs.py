"""An output that cannot be put where it should go is found out first, in one line, and the old file stays."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(params=["export", "load", "size-report"])
def writer(request: pytest.FixtureRequest, trained_runs: Path, digits_file: Path) -> Callable[[Path], list[object]]:
    """The arguments with which a command writes to a path, which gets the suffix that the command asks for."""

    def arguments(output: Path) -> list[object]:
        if request.param == "export":
            return ["export", output.with_suffix(".pemn"), "--runs-dir", trained_runs]
        option, suffix = {"load": ("--to", ".safetensors"), "size-report": ("--plot", ".svg")}[request.param]
        return [request.param, digits_file, option, output.with_suffix(suffix)]

    return arguments


def target(arguments: list[object]) -> Path:
    """The path that such arguments write to."""
    return next(each for each in reversed(arguments[1:4]) if isinstance(each, Path) and each.name.startswith("output"))


def test_an_existing_output_needs_force(
    writer: Callable[[Path], list[object]], tmp_path: Path, assert_fails: Callable[..., str], run: Callable[..., Any]
) -> None:
    arguments = writer(tmp_path / "output")
    output = target(arguments)
    output.write_text("the user's own")
    line = assert_fails(1, *arguments)
    assert "exists" in line
    assert "--force" in line
    assert output.read_text() == "the user's own"
    run(*arguments, "--force")
    assert output.read_bytes() != b"the user's own"
    assert not [each for each in tmp_path.iterdir() if each.name.endswith(".tmp")]


def test_a_folder_that_does_not_exist(
    writer: Callable[[Path], list[object]], tmp_path: Path, assert_fails: Callable[..., str]
) -> None:
    assert "does not exist" in assert_fails(1, *writer(tmp_path / "nowhere" / "output"))


def test_an_output_that_is_a_link_to_nothing(
    writer: Callable[[Path], list[object]], tmp_path: Path, assert_fails: Callable[..., str]
) -> None:
    arguments = writer(tmp_path / "output")
    target(arguments).symlink_to(tmp_path / "nothing")
    assert "is a link to nothing; use --force" in assert_fails(1, *arguments)
    assert target(arguments).is_symlink()


def test_an_output_that_is_a_folder(
    writer: Callable[[Path], list[object]], tmp_path: Path, assert_fails: Callable[..., str]
) -> None:
    arguments = writer(tmp_path / "output")
    target(arguments).mkdir()
    assert "is a folder" in assert_fails(1, *arguments, "--force")


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a folder that not even root may write")
def test_a_folder_that_cannot_be_written(writer: Callable[[Path], list[object]], run: Callable[..., Any]) -> None:
    result = run(*writer(Path("/proc/output")))
    assert (result.code, result.out) == (1, "")
    assert "cannot be written" in result.err.splitlines()[-1]
    assert result.err.count("error: ") == 1


def test_weights_are_not_written_over_the_file_that_they_come_from(
    digits_file: Path, assert_fails: Callable[..., str]
) -> None:
    before = digits_file.read_bytes()
    line = assert_fails(2, "load", digits_file, "--to", digits_file, "--force")
    assert f"'{digits_file}' does not end in .safetensors; name the file to write" in line
    assert digits_file.read_bytes() == before


@pytest.mark.parametrize("name", ["masked", "model.safetensors", "model"])
def test_what_is_no_pemn_name_is_not_exported_to(
    name: str, trained_runs: Path, tmp_path: Path, assert_fails: Callable[..., str]
) -> None:
    line = assert_fails(2, "export", tmp_path / name, "--runs-dir", trained_runs)
    assert "does not end in .pemn; name the file to write, and the run with --run" in line
    assert not list(tmp_path.iterdir())


def test_bundles_and_patches_end_in_pemn(digits_file: Path, tmp_path: Path, assert_fails: Callable[..., str]) -> None:
    out = tmp_path / "out.bin"
    for arguments in (
        ("bundle", out, f"a={digits_file}"),
        ("delta", digits_file, digits_file, out),
        ("apply", digits_file, digits_file, out),
    ):
        assert "does not end in .pemn" in assert_fails(2, *arguments)
    assert not out.exists()
