"""The examples in the docstrings of the masking functions run."""

from __future__ import annotations

import doctest
import importlib

import pytest


@pytest.mark.parametrize("module", ["config", "maskable", "masking", "penalty"])
def test_the_docstring_examples_hold(module: str) -> None:
    result = doctest.testmod(importlib.import_module(f"pemn_compress.{module}"))
    assert result.attempted > 0
    assert result.failed == 0
