from __future__ import annotations

import importlib.machinery
import importlib.util
import sys
from pathlib import Path

# The checkout's `benchmarks` folder becomes importable, and nothing else of the checkout: the packages under test may
# be those of an installed wheel.
if "benchmarks" not in sys.modules:
    _spec = importlib.machinery.ModuleSpec("benchmarks", None, is_package=True)
    _spec.submodule_search_locations = [str(Path(__file__).parents[2] / "benchmarks")]
    sys.modules["benchmarks"] = importlib.util.module_from_spec(_spec)
