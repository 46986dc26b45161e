"""What is printed: sizes, durations, tables, JSON."""

from __future__ import annotations

import json

import pytest

from pemn_cli.output import print_json, print_table, ratio, seconds, size


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (9_999, "9,999 B"),
        (142_336, "142.3 kB (142,336 B)"),
        (2_394_248, "2.4 MB (2,394,248 B)"),
        (5_500_000_000, "5.5 GB (5,500,000,000 B)"),
    ],
)
def test_size_is_readable_and_exact(count: int, text: str) -> None:
    assert size(count) == text


@pytest.mark.parametrize(
    ("duration", "text"), [(0.00042, "0.42 ms"), (0.038, "38 ms"), (2.1, "2.10 s"), (247.4, "4 min 07 s")]
)
def test_seconds(duration: float, text: str) -> None:
    assert seconds(duration) == text


def test_ratio() -> None:
    assert ratio(2_394_248, 90_112) == "26.6x"
    assert ratio(1, 0) == "-"


def test_table_aligns_and_has_no_colours_outside_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    print_table([["a", "1"], [], ["bb", "22,000", "x"]], header=["", "n"], align="lrl", indent=2)
    assert capsys.readouterr().out == "           n\n  a        1\n\n  bb  22,000  x\n"


def test_table_spells_out_control_characters(capsys: pytest.CaptureFixture[str]) -> None:
    print_table([["a\x1b[2Jb\n"]])
    assert capsys.readouterr().out == "a\\x1b[2Jb\\n\n"


def test_json_is_one_sorted_object(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"b": 1, "a": [None]})
    out = capsys.readouterr().out
    assert list(json.loads(out)) == ["a", "b"]
    with pytest.raises(ValueError, match="JSON compliant"):
        print_json({"a": float("nan")})
