from __future__ import annotations

import sys
from pathlib import Path

from hypothesis import HealthCheck, settings

# The helpers beside the tests (samples, forge, fuzz, make_golden) are plain modules, importable from every folder here.
sys.path.insert(0, str(Path(__file__).parent))

settings.register_profile(
    "formats", max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
)
settings.load_profile("formats")
