from __future__ import annotations

import os
from pathlib import Path

import pytest
from forge import Forge
from fuzz import BUDGET, MUTATIONS, Stats, fuzz

from pemn_formats.errors import FormatError
from pemn_formats.limits import MAX_MANIFEST_BYTES, MAX_MANIFEST_ITEMS
from pemn_formats.reader import read
from pemn_formats.writer import encode


def check(stats: Stats, cases: int) -> None:
    """The promises that `fuzz` does not check itself; and that it reached accepted files and many kinds of refusal."""
    assert stats.cases == cases
    assert stats.slowest < 1
    assert cases / 10 < stats.accepted < cases / 2
    assert len(stats.refusals) > 100


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # where `fuzz` leaves a case that broke a promise


def test_nothing_but_format_errors_leaves_the_reader_and_what_it_accepts_keeps_its_identity() -> None:
    check(fuzz(6000, seed=0), 6000)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 11))
def test_the_same_for_two_hundred_thousand_cases(seed: int) -> None:
    """`PEMN_FUZZ_CASES` is the number for each of the ten seeds."""
    cases = int(os.environ.get("PEMN_FUZZ_CASES", "20000"))
    check(fuzz(cases, seed), cases)


def test_memory_stays_bounded() -> None:
    stats = fuzz(1000, seed=99, trace_memory=True)
    assert stats.peak_bytes < 24 * BUDGET


def test_a_run_is_repeatable_and_every_mutation_changes_something() -> None:
    first, second = fuzz(300, seed=5), fuzz(300, seed=5)
    assert first.refusals == second.refusals
    assert len(MUTATIONS) == 8


@pytest.mark.parametrize("unit", ["[]", "{}", '{"":0}', "0", '""'])
def test_a_manifest_of_sixteen_mebibytes_of_values_is_refused_before_it_is_parsed(unit: str) -> None:
    from samples import SAMPLES

    forge = Forge.of(encode(SAMPLES["keep_tile"]()))
    count = (MAX_MANIFEST_BYTES - 64) // (len(unit) + 1)
    forge.raw_manifest = ('{"x":[' + ",".join([unit] * count) + "]}").encode()
    assert forge.raw_manifest.count(b",") > MAX_MANIFEST_ITEMS
    with pytest.raises(FormatError, match=rf"^the manifest holds more than {MAX_MANIFEST_ITEMS} values$"):
        read(forge.build())
