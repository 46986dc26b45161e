from __future__ import annotations

import os
import random
from pathlib import Path

import fuzz as fuzzing
import pytest
from forge import Forge
from fuzz import BUDGET, TRACED, Stats, fuzz
from mutations import MUTATIONS, WEIGHTS, mutate
from originals import many_chunks, originals

from pemn_formats.errors import FormatError
from pemn_formats.limits import MAX_MANIFEST_BYTES, MAX_MANIFEST_ITEMS
from pemn_formats.reader import Reader, read
from pemn_formats.writer import encode


def check(stats: Stats, cases: int) -> None:
    """No promise was broken; and the run reached accepted files, patches and many kinds of refusal."""
    assert not stats.escapes
    assert stats.cases == cases
    assert stats.slowest < 1
    assert stats.traced == -(-cases // TRACED)
    assert 0 < stats.peak_bytes < 4 * BUDGET
    assert stats.resident_growth < 64 * BUDGET
    assert cases / 10 < stats.accepted < cases / 2
    assert stats.patched > 0
    assert len(stats.refusals) > 100


def test_nothing_but_format_errors_leaves_the_reader_and_what_it_accepts_keeps_its_identity(tmp_path: Path) -> None:
    check(fuzz(6000, seed=0, keep=tmp_path), 6000)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 11))
def test_the_same_for_two_hundred_thousand_cases(seed: int, tmp_path: Path) -> None:
    """`PEMN_FUZZ_CASES` is the number for each of the ten seeds."""
    cases = int(os.environ.get("PEMN_FUZZ_CASES", "20000"))
    check(fuzz(cases, seed, keep=tmp_path), cases)


def test_a_run_is_repeatable(tmp_path: Path) -> None:
    first, second = fuzz(300, seed=5, keep=tmp_path), fuzz(300, seed=5, keep=tmp_path)
    assert (first.refusals, first.accepted) == (second.refusals, second.accepted)
    assert first.refusals != fuzz(300, seed=6, keep=tmp_path).refusals


@pytest.mark.parametrize("at", range(len(MUTATIONS)), ids=lambda at: MUTATIONS[at].__name__.strip("_"))
def test_every_mutation_changes_something(at: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mutations.WEIGHTS", [int(other == at) for other in range(len(WEIGHTS))])
    rng = random.Random(1)
    changed = [mutate(rng, each.forge) != each.forge.build() for each in originals() for _ in range(3)]
    assert sum(changed) > len(changed) / 3


@pytest.mark.parametrize("error", [IndexError("x"), MemoryError(), SystemExit(2), FormatError("two\nlines")])
def test_what_escapes_is_counted_and_its_file_kept(
    error: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(fuzzing, "read", broken)
    stats = fuzz(12, seed=0, keep=tmp_path)
    assert len(stats.escapes) == stats.cases == 12
    assert len(list(tmp_path.iterdir())) == 10


@pytest.mark.parametrize(
    ("function", "result"), [("content_id", "0" * 64), ("apply_delta", None), ("diff", None), ("encode", b"")]
)
def test_each_promise_about_what_is_accepted_can_be_seen_to_break(
    function: str, result: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fuzzing, function, lambda *_: result)
    assert fuzz(400, seed=0, keep=tmp_path).escapes


def test_one_original_has_several_chunks_in_every_section_and_context_coded_ones() -> None:
    data = many_chunks()
    assert [len(pieces) for pieces in Forge.of(data).sections] == [2, 2, 2]
    with Reader.open(data) as reader:
        assert reader.codecs()["masks"]["context"] == 1


@pytest.mark.parametrize("unit", ["[]", "{}", '{"":0}', "0", '""'])
def test_a_manifest_of_sixteen_mebibytes_of_values_is_refused_before_it_is_parsed(unit: str) -> None:
    from samples import SAMPLES

    forge = Forge.of(encode(SAMPLES["keep_tile"]()))
    count = (MAX_MANIFEST_BYTES - 64) // (len(unit) + 1)
    forge.raw_manifest = ('{"x":[' + ",".join([unit] * count) + "]}").encode()
    assert forge.raw_manifest.count(b",") > MAX_MANIFEST_ITEMS
    with pytest.raises(FormatError, match=rf"^the manifest holds more than {MAX_MANIFEST_ITEMS} values$"):
        read(forge.build())
