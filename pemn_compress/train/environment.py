"""What a run ran on: versions, and the state of the code around it."""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Mapping
from pathlib import Path

import numpy
import torch
import torchvision

from pemn_compress.train.distributed import ranks
from pemn_formats.version import __version__

__all__ = ["changed_versions", "git_state", "versions"]


def versions() -> dict[str, str | int | None]:
    """The versions that decide whether a run can be repeated bit for bit, and the numbers of threads and processes."""
    return {
        "pemn-compress": __version__,
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "torchvision": str(torchvision.__version__),
        "numpy": numpy.__version__,
        "cuda": torch.version.cuda,
        "platform": platform.machine(),
        "threads": torch.get_num_threads(),
        "processes": ranks().size,
    }


def changed_versions(before: Mapping[str, object]) -> list[str]:
    """What differs from the `versions` of a run, such as `torch 2.4.0 (now 2.5.1)`."""
    return [f"{name} {before[name]} (now {now})" for name, now in versions().items() if before.get(name, now) != now]


def git_state(folder: Path, *, leave_out: str | None = None) -> dict[str, str | bool] | None:
    """The commit checked out at `folder` and whether tracked files differ from it; None outside a repository.

    What is below `leave_out`, a folder there, may differ.
    """
    commit = _git(folder, "rev-parse", "HEAD")
    but = [] if leave_out is None else ["--", ":/", f":(exclude){leave_out}"]
    changes = _git(folder, "status", "--porcelain", "--untracked-files=no", *but)
    if not commit or changes is None:
        return None
    return {"commit": commit.strip(), "dirty": bool(changes.strip())}


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None
