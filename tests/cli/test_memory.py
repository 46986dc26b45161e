"""A file that asks for more memory than there is ends with one line, before the memory is taken."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pemn_cli.failures import describe
from pemn_formats.reader import Reader

COMMANDS = [["load"], ["load", "--to", "out.safetensors"], ["verify", "--deep"], ["eval"], ["inspect"], ["verify"]]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_file_over_the_budget_is_a_bad_file(
    command: list[str], digits_file: Path, assert_fails: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(digits_file.parent)
    line = assert_fails(3, command[0], digits_file, *command[1:], "--memory-budget", "100")
    assert line.startswith(f"error: {digits_file}: the file decodes to ")
    assert "over the memory budget of 100; raise it with --memory-budget" in line
    assert [each.name for each in digits_file.parent.iterdir()] == [digits_file.name]


@pytest.mark.parametrize("command", COMMANDS[:4], ids=" ".join)
def test_dense_weights_over_the_budget_are_refused(
    command: list[str], digits_file: Path, assert_fails: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(digits_file.parent)
    with Reader.open(digits_file) as reader:
        manifest = reader.manifest
    streams = manifest.prototype_bytes + manifest.mask_bytes + manifest.residual_bytes
    line = assert_fails(3, command[0], digits_file, *command[1:], "--memory-budget", str(streams))
    assert f" bytes of memory, over the {streams:,} bytes of the memory budget; raise it with --memory-budget" in line
    assert [each.name for each in digits_file.parent.iterdir()] == [digits_file.name]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_budget_that_is_large_enough_changes_nothing(
    command: list[str], digits_file: Path, run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(digits_file.parent)
    assert run(command[0], digits_file, *command[1:], "--memory-budget", "1GB").code == 0


@pytest.mark.parametrize("command", COMMANDS[:4], ids=" ".join)
def test_without_a_budget_the_machine_decides(
    command: list[str], digits_file: Path, assert_fails: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from pemn_formats import dense

    monkeypatch.chdir(digits_file.parent)
    monkeypatch.setattr(dense, "available_memory", lambda: 100)
    line = assert_fails(3, command[0], digits_file, *command[1:])
    assert "over the 100 bytes that this machine has free" in line


@pytest.mark.parametrize("library", ["numpy", "torch", "python"])
def test_memory_that_cannot_be_had_is_no_internal_error(library: str) -> None:
    huge = 1 << 50
    calls: dict[str, Callable[[], object]] = {
        "numpy": lambda: np.empty(huge, np.uint8),
        "torch": lambda: torch.empty(huge, dtype=torch.uint8),
        "python": lambda: bytearray(huge),
    }
    with pytest.raises((MemoryError, RuntimeError)) as caught:
        calls[library]()
    code, line = describe(caught.value)
    assert code == 1
    assert line.startswith("out of memory")
    assert len(line) < 120
    if library == "torch":
        assert line == f"out of memory: {huge:,} bytes could not be had"


def test_another_runtime_error_stays_ours() -> None:
    assert describe(RuntimeError("shapes differ"))[1].startswith("internal error, RuntimeError: shapes differ")


@pytest.mark.parametrize("command", ["size-report", "diff", "delta", "apply", "bundle"])
def test_every_command_that_reads_files_takes_the_remedy(
    command: str, digits_file: Path, assert_fails: Callable[..., str]
) -> None:
    out, named = digits_file.with_name("out.pemn"), f"task={digits_file}"
    files = {"size-report": [digits_file], "diff": [digits_file] * 2, "bundle": [out, named]}.get(
        command, [digits_file, digits_file, out]
    )
    line = assert_fails(3, command, *files, "--memory-budget", "100")
    assert line.startswith(f"error: {digits_file}: the file decodes to ")
    assert "over the memory budget of 100; raise it with --memory-budget" in line
    assert not out.exists()
