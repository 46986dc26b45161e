from __future__ import annotations

import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from pemn_formats import native

# The helpers beside the tests (samples, forge, fuzz, make_golden) are plain modules, importable from every folder here.
sys.path.insert(0, str(Path(__file__).parent))

settings.register_profile(
    "formats", max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
)
settings.load_profile("formats")


@pytest.fixture(scope="session")
def loops() -> native.Loops:
    """The compiled loops."""
    found = native.compiled()
    if found is None:
        pytest.skip("the compiled loops were not built here: there is no C compiler, or PEMN_NATIVE=0 is set")
    return found


@pytest.fixture(params=["compiled", "numpy"])
def both_ways(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run a test with the compiled loops and without them."""
    if request.param == "numpy":
        monkeypatch.setattr(native, "_LOOPS", None)
    else:
        request.getfixturevalue("loops")
