"""`train` as two processes under `torchrun`: one voice, and a run that survives the death of one of them."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from pemn_cli.ranks import command_line, launched, speaks

pytestmark = pytest.mark.slow

SMALL = ("--model-arg", "hidden=16", "--depth", 1, "--limit-train", 195, "--batch-size", 64, "--epochs", 60)


def start(*arguments: object) -> subprocess.Popen[str]:
    line = [sys.executable, "-W", "error", "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    line += ["-m", "pemn_cli", "--", "train", *map(str, arguments)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(line, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def errors(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith("error: ")]


def process_of(launcher: subprocess.Popen[str], rank: int) -> int:
    for folder in Path("/proc").iterdir():
        with contextlib.suppress(OSError):  # of processes that end meanwhile
            if folder.name.isdigit() and f"PPid:\t{launcher.pid}\n" in (folder / "status").read_text():
                environment = (folder / "environ").read_text().split("\0")
                if f"RANK={rank}" in environment:
                    return int(folder.name)
    raise AssertionError(f"no process of rank {rank}")


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="finds processes in /proc")
@pytest.mark.parametrize("rank", [0, 1])
def test_a_killed_process_ends_the_run_which_resumes(run: Any, tmp_path: Path, rank: int) -> None:
    folder = tmp_path / "runs" / "two"
    launcher = start(*SMALL, "--run", "two", "--runs-dir", tmp_path / "runs")
    while not list(folder.glob("checkpoint-000003.pt")) and launcher.poll() is None:
        time.sleep(0.01)
    os.kill(process_of(launcher, rank), signal.SIGKILL)
    out, err = launcher.communicate(timeout=180)
    assert (launcher.returncode, out) == (1, "")
    (line,) = errors(err)
    assert "another process of this run ended" in line or "torchrun stopped this process" in line
    assert line.endswith(f"resume with: torchrun --nproc-per-node 2 -m pemn_cli train --resume {folder}")
    assert not (folder / "checkpoint-000060.pt").exists()

    if rank == 0:  # one process goes on, with a warning
        done = run("train", "--resume", folder, "--json")
        assert done.code == 0, done.err
        assert re.search(r"warning: the run was started with (.*, )?processes 2 \(now 1\)", done.err)
        found = json.loads(done.out)
    else:
        launcher = start("--resume", folder, "--json")
        out, err = launcher.communicate(timeout=180)
        assert launcher.returncode == 0, err
        assert "warning" not in err
        found = json.loads(out)
    assert (found["epochs"], found["run"]) == (60, str(folder))
    assert [json.loads(line)["epoch"] for line in (folder / "metrics.jsonl").read_text().splitlines()] == [
        *range(1, 61)
    ]
    assert found["test"]["accuracy"] > 70


def test_a_failure_is_one_line_and_leaves_nothing(tmp_path: Path) -> None:
    launcher = start("--data", "folder:nowhere", "--runs-dir", tmp_path / "runs")
    out, err = launcher.communicate(timeout=180)
    assert (launcher.returncode, out) == (1, "")
    (line,) = errors(err)
    assert "nowhere" in line
    assert not (tmp_path / "runs").exists()


def test_a_plain_process_speaks_and_is_named_plainly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TORCHELASTIC_RUN_ID", raising=False)
    assert not launched()
    assert speaks()
    assert command_line() == "pemn-compress"
