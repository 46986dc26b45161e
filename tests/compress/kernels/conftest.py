"""Kernels run on a CUDA device, or in Triton's interpreter on the CPU.

Whether Triton interprets is settled when a kernel is defined, so the interpreter has a process of its own:
test_in_the_interpreter.py starts these tests there. Without it and without a device they are not collected.
"""

from __future__ import annotations

import os

import pytest
import torch

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
OUTER = "test_in_the_interpreter.py"

if INTERPRETED:
    collect_ignore = [OUTER, "test_compiled_code.py"]
elif not torch.cuda.is_available():
    collect_ignore_glob = ["test_*_kernel.py"]


@pytest.fixture(scope="session")
def device() -> str:
    return "cpu" if INTERPRETED else "cuda"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.parent.name == "kernels" and item.path.name.endswith("_kernel.py") and not INTERPRETED:
            item.add_marker(pytest.mark.gpu)
