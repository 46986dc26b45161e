"""The command itself: help, version, exit codes, and how failures are told."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import click
import pytest

from pemn_cli import exit_codes
from pemn_cli.failures import Interrupted, describe, one_line
from pemn_cli.main import COMMANDS
from pemn_formats import FormatError, PemnError, __version__


def test_bare_command_shows_the_help(run: Callable[..., Any]) -> None:
    bare, asked = run(), run("--help")
    assert bare == asked
    assert bare.code == 0


def test_help_lists_every_command_in_the_order_of_the_work(run: Callable[..., Any]) -> None:
    lines = run("--help").out.splitlines()
    start = lines.index("Commands:") + 1
    listed = [line.split()[0] for line in lines[start : lines.index("", start)]]
    assert listed == list(COMMANDS)


def test_version(run: Callable[..., Any]) -> None:
    assert run("--version").out == f"pemn-compress {__version__}\n"


def test_runs_as_a_module() -> None:
    done = subprocess.run([sys.executable, "-m", "pemn_cli", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"pemn-compress {__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["exprot"], "No such command 'exprot'"),
        (["inspect"], "Missing argument 'MODEL.pemn'"),
        (["inspect", "a.pemn", "--jsn"], "No such option"),
        (["inspect", "a.pemn", "b.pemn"], "unexpected extra argument"),
        (["load", "a.pemn", "--dtype", "float8"], "float8"),
        (["eval", "a.pemn", "--batch-size", "0"], "--batch-size"),
        (["export", "a.pemn", "--store", "disk"], "disk"),
        (["--nothing"], "No such option"),
    ],
)
def test_wrong_usage_is_one_line_with_the_help_to_read(
    arguments: list[str], words: str, assert_fails: Callable[..., str]
) -> None:
    line = assert_fails(exit_codes.USAGE, *arguments)
    assert words in line
    assert "--help'" in line


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (PemnError("ratio is 0"), 1, "ratio is 0"),
        (FormatError("header\n  differs\n"), 3, "header differs"),
        (FormatError("name 'a\x1b[31m'"), 3, "name 'a\\x1b[31m'"),
        (OSError(28, "No space left on device", "out.pemn"), 1, "out.pemn: No space left on device"),
        (OSError("odd"), 1, "odd"),
        (MemoryError(), 1, "out of memory"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (Interrupted("go on with: x --resume y"), 130, "interrupted: go on with: x --resume y"),
        (ValueError("what"), 1, "internal error, ValueError: what (PEMN_DEBUG=1 shows the traceback)"),
    ],
)
def test_what_is_raised_becomes_a_code_and_a_line(error: BaseException, code: int, line: str) -> None:
    assert describe(error) == (code, line)


@pytest.mark.parametrize("error", [PemnError("no\nsuch thing"), FormatError("bad"), OSError("full"), ValueError("bug")])
def test_no_failure_is_a_traceback(error: Exception, run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    result = run_failing(error, run, monkeypatch)
    assert result.code == describe(error)[0]
    assert result.err == f"error: {describe(error)[1]}\n"


def test_ctrl_c_says_what_can_be_done(run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    result = run_failing(Interrupted("go on with: pemn-compress train --resume runs/a"), run, monkeypatch)
    assert result.code == 130
    assert result.err == "error: interrupted: go on with: pemn-compress train --resume runs/a\n"


def test_debug_shows_the_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    from pemn_cli.main import main

    monkeypatch.setenv("PEMN_DEBUG", "1")
    with pytest.raises(FormatError, match="folder"):
        main(["inspect", os.curdir])


def run_failing(error: BaseException, run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run a command whose body raises `error`."""

    def body() -> None:
        raise error

    module = ModuleType("failing_command")
    module.command = click.Command("fail", callback=body)
    monkeypatch.setitem(sys.modules, "failing_command", module)
    monkeypatch.setitem(COMMANDS, "fail", "failing_command")
    return run("fail")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_behind_stdout_is_one_line() -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "pemn_cli", "--version"], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert (done.returncode, done.stderr) == (1, "error: No space left on device\n")


def test_a_closed_pipe_is_quiet() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-m", "pemn_cli", "--help"], stdout=writing, stderr=subprocess.PIPE, text=True, check=False
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (1, "")


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
def test_closed_streams_are_no_failure(closed: str, model_file: Path) -> None:
    command = f'exec "$0" -m pemn_cli verify "$1" {closed}'
    done = subprocess.run(
        ["sh", "-c", command, sys.executable, model_file], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("OK" if closed == "2>&-" else "")


def test_one_line_keeps_letters_of_every_script() -> None:
    assert one_line("モデル.pemn  is\r\n\tfine") == "モデル.pemn  is fine"
