from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="no Triton here")
@pytest.mark.parametrize("file", sorted(path.name for path in Path(__file__).parent.glob("test_*_kernel.py")))
def test_kernels_in_the_interpreter(file: str) -> None:
    """Every kernel, one thread, on the CPU; the run's own report says which case failed."""
    settings = os.environ | {"TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"}
    options = ["-q", "-p", "no:cacheprovider", "--import-mode=importlib", "--tb=short"]
    command = [sys.executable, "-m", "pytest", *options, str(Path(__file__).with_name(file))]
    run = subprocess.run(command, env=settings, capture_output=True, text=True, timeout=600)
    assert run.returncode == 0, run.stdout[-6000:] + run.stderr[-2000:]
    assert "passed" in run.stdout
