from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pemn_formats.errors import FormatError
from pemn_formats.limits import MAX_NAME_BYTES
from pemn_formats.names import RESERVED_PREFIX, check_name, shown


@pytest.mark.parametrize("name", ["w", "0.weight", "a b~!", "a" * MAX_NAME_BYTES, ".hidden", "a.", "pemn", "x:y"])
def test_ordinary_names_are_returned(name: str) -> None:
    assert check_name(name) == name


def test_the_root_module_has_an_empty_name() -> None:
    assert check_name("", empty=True) == ""


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("", "a tensor has an empty name"),
        ("a" * 256, r"the name 'a{75}\.\.\.' has 256 characters, at most 255 are allowed"),
        ("a\0", r"the name 'a\\x00' holds characters outside printable ASCII"),
        ("a\n", r"the name 'a\\n' holds characters outside printable ASCII"),
        ("\x1b[2J", r"the name '\\x1b\[2J' holds characters outside printable ASCII"),
        ("\x7f", r"the name '\\x7f' holds characters outside printable ASCII"),
        ("\u00e9", r"the name '\\xe9' holds characters outside printable ASCII"),
        ("\ud800", r"the name '\\ud800' holds characters outside printable ASCII"),
        ("a/b", "the name 'a/b' holds '/', "),
        ("a\\b", r"the name 'a\\\\b' holds '/', "),
        ("..", r"the name '\.\.' holds '/', "),
        ("a..b", r"the name 'a\.\.b' holds '/', "),
        (f"{RESERVED_PREFIX}x", "the name 'pemn:x' starts with the reserved prefix 'pemn:'"),
    ],
)
def test_other_names_are_refused(name: str, message: str) -> None:
    with pytest.raises(FormatError, match=rf"^{message}"):
        check_name(name)


@given(st.text(max_size=400))
def test_any_name_is_shown_on_one_short_printable_line(name: str) -> None:
    assert shown(name).isprintable()
    assert shown(name).isascii()
    assert len(shown(name)) <= 80
