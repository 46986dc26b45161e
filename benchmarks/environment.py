"""What a measurement ran on: hardware and versions. No paths, no names of users or machines."""

from __future__ import annotations

import datetime
import os
import platform
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from pemn_compress.train.environment import git_state
from pemn_formats.native import compiled
from pemn_formats.version import __version__

__all__ = ["environment"]

_PACKAGES = ("torch", "torchvision", "numpy", "zstandard", "safetensors")


def environment() -> dict[str, Any]:
    """Return hardware, versions, the state of the code, and the date (UTC), ready for JSON."""
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
        "hardware": {
            "cpu": _cpu_model(),
            "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
            "memory_gib": _memory_gib(),
            "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        },
        "threads": torch.get_num_threads(),
        "compiled_loops": compiled() is not None,
        "versions": {
            "pemn-compress": __version__,
            "python": platform.python_version(),
            **{name: version(name) for name in _PACKAGES},
            "cuda": torch.version.cuda if torch.cuda.is_available() else None,
            "system": f"{platform.system()} {platform.machine()}",
        },
        "code": git_state(Path(__file__).parent, leave_out="results"),
    }


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or "unknown"
    facts = dict(line.split(":", 1) for line in lines if ":" in line)
    named = {key.strip(): value.strip() for key, value in facts.items()}
    model = named.get("model name", platform.processor() or "unknown")
    # Virtual machines often hide the model's name; family and model number still tell the generation.
    if "cpu family" in named and "model" in named:
        model += f" (family {named['cpu family']}, model {named['model']})"
    return model


def _memory_gib() -> float | None:
    if sys.platform == "win32":
        return None
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    except (ValueError, OSError):
        return None
