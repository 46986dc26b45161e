from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pemn_formats.canonical_json import dump, parse
from pemn_formats.errors import FormatError
from pemn_formats.limits import MAX_MANIFEST_ITEMS

values = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 63), (1 << 64) - 1) | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
)


@given(values)
def test_what_is_dumped_is_parsed_again(value: Any) -> None:
    raw = dump(value)
    assert parse(raw) == value
    assert raw.isascii()
    assert dump(parse(raw)) == raw


def test_the_one_form() -> None:
    assert dump({"b": [1, True, None], "a": "\u00e9\n"}) == b'{"a":"\\u00e9\\n","b":[1,true,null]}'
    assert dump("\x7f\U0001f600") == b'"\\u007f\\ud83d\\ude00"'


@pytest.mark.parametrize("value", [-(1 << 63), (1 << 64) - 1, "\x7f\U0001f600", {"\U0001f600": 1, "\ufffd": 2}])
def test_what_lies_at_the_bounds_is_accepted(value: Any) -> None:
    assert parse(dump(value)) == value


@given(values, st.sampled_from([{"indent": 1}, {"separators": (", ", ":")}, {"separators": (",", ": ")}]))
def test_other_forms_are_refused(value: Any, options: dict[str, Any]) -> None:
    raw = json.dumps(value, sort_keys=True, **options).encode()
    if raw == dump(value):
        return
    with pytest.raises(FormatError, match="is not canonical JSON"):
        parse(raw)


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", "the manifest is not JSON: Expecting value: line 1 column 1"),
        (b"\xff", "the manifest is not JSON: 'ascii' codec can't decode byte 0xff"),
        (b"{", "the manifest is not JSON: Expecting property name"),
        (b"[1,]", "the manifest is not JSON: "),
        (b"[1]x", "the manifest is not JSON: Extra data"),
        (b'"\n"', "the manifest is not JSON: Invalid control character"),
        (b'"\\x"', r"the manifest is not JSON: Invalid \\escape"),
        (b"'a'", "the manifest is not JSON: Expecting value"),
        (b"1" * 5000, "the manifest holds the integer 111111111111111111111111, expected "),
        (
            b"18446744073709551616",
            r"the manifest holds the integer 18446744073709551616, expected -2\^63 to 2\^64 - 1$",
        ),
        (b"-9223372036854775809", "the manifest holds the integer -9223372036854775809, expected "),
        (b"0" * 20 + b"1", "the manifest is not JSON: Extra data"),
        (b'["\\ud800"]', "the manifest holds half of a surrogate pair"),
        (b'{"\\udc00\\ud800":1}', "the manifest holds half of a surrogate pair"),
        (b'"\x7f"', "the manifest is not canonical JSON"),
        (b"[" * 100_000, "the manifest is not JSON: nested too deeply"),
        (b"[" * 100_000 + b"]" * 100_000, "the manifest is not JSON: nested too deeply"),
        (b'{"a":' * 100_000 + b"0" + b"}" * 100_000, "the manifest is not JSON: nested too deeply"),
        (b'{"a":1,"a":1}', "the manifest has the key 'a' twice"),
        (b'{"x":{"\\u001b":1,"\\u001b":2}}', r"the manifest has the key '\\x1b' twice"),
        (b"1.5", r"the manifest holds the number 1\.5; only integers are allowed"),
        (b"1e9", "the manifest holds the number 1e9; only integers"),
        (b"[NaN]", "the manifest holds the number NaN; only integers"),
        (b"[Infinity]", "the manifest holds the number Infinity; only integers"),
        (b"[-Infinity]", "the manifest holds the number -Infinity; only integers"),
        (b"-0", "the manifest is not canonical JSON"),
        (b" 1", "the manifest is not canonical JSON"),
        (b"1\n", "the manifest is not canonical JSON"),
        (b'{"b":1,"a":2}', "the manifest is not canonical JSON"),
        (b'"\\u0041"', "the manifest is not canonical JSON"),
        (b'"\\u00E9"', "the manifest is not canonical JSON"),
        (b'"\\/"', "the manifest is not canonical JSON"),
        (b"[" + b"0," * MAX_MANIFEST_ITEMS + b"0]", f"the manifest holds more than {MAX_MANIFEST_ITEMS} values"),
    ],
)
def test_bad_text_is_refused(raw: bytes, message: str) -> None:
    with pytest.raises(FormatError, match=rf"^{message}") as caught:
        parse(raw)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_what_json_lacks_is_not_dumped(bad: float) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        dump(bad)
