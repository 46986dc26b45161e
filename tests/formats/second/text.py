"""Canonical JSON by SPEC.md, section 3: a strict parser that takes nothing else."""

from __future__ import annotations

import json
import re
from typing import Any

MAX_ITEMS = 1 << 20
_DEEPEST = 64
_STRING = re.compile(r'"((?:[ !#-\[\]-~]|\\["\\nrtfb]|\\u[0-9a-f]{4})*)"')
_INTEGER = re.compile(r"0|-?[1-9][0-9]*")
_ESCAPE = re.compile(r"\\u(d[89ab][0-9a-f]{2})\\u(d[c-f][0-9a-f]{2})|\\u([0-9a-f]{4})|\\(.)")
_SHORT = {'"': '"', "\\": "\\", "n": "\n", "r": "\r", "t": "\t", "f": "\f", "b": "\b"}
_WORDS = {"null": None, "true": True, "false": False}


class RefusedError(Exception):
    """What the second reader raises, and nothing else, on a file that SPEC.md tells it to refuse."""


def refuse_unless(condition: bool, what: str) -> None:
    if not condition:
        raise RefusedError(what)


def parse(raw: bytes) -> Any:
    """The value of a canonical text."""
    refuse_unless(raw.isascii(), "a manifest that is not ASCII")
    text = raw.decode("ascii")
    refuse_unless(sum(map(text.count, ",[{")) <= MAX_ITEMS, "a manifest with too many values")
    value, end = _value(text, 0, 0)
    refuse_unless(end == len(text), "something behind the manifest's JSON")
    return value


def dump(value: Any) -> bytes:
    """The canonical text of a value that `parse` gave."""
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode("ascii")


def _value(text: str, at: int, depth: int) -> tuple[Any, int]:
    refuse_unless(depth < _DEEPEST, "a manifest nested too deep")
    first = text[at : at + 1]
    if first == "{":
        return _object(text, at + 1, depth + 1)
    if first == "[":
        return _list(text, at + 1, depth + 1)
    if first == '"':
        return _string(text, at)
    if found := _INTEGER.match(text, at):
        refuse_unless(len(found[0]) <= 20 and -(1 << 63) <= int(found[0]) < 1 << 64, "an integer beyond 64 bits")
        return int(found[0]), found.end()
    for word, value in _WORDS.items():
        if text.startswith(word, at):
            return value, at + len(word)
    raise RefusedError("a manifest that is not canonical JSON")


def _list(text: str, at: int, depth: int) -> tuple[list[Any], int]:
    items: list[Any] = []
    if text[at : at + 1] == "]":
        return items, at + 1
    while True:
        item, at = _value(text, at, depth)
        items.append(item)
        mark, at = text[at : at + 1], at + 1
        if mark == "]":
            return items, at
        refuse_unless(mark == ",", "a list without , or ]")


def _object(text: str, at: int, depth: int) -> tuple[dict[str, Any], int]:
    items: dict[str, Any] = {}
    if text[at : at + 1] == "}":
        return items, at + 1
    last: str | None = None
    while True:
        key, at = _string(text, at)
        refuse_unless(last is None or last < key, "keys out of order")
        refuse_unless(text[at : at + 1] == ":", "a key without :")
        last = key
        items[key], at = _value(text, at + 1, depth)
        mark, at = text[at : at + 1], at + 1
        if mark == "}":
            return items, at
        refuse_unless(mark == ",", "an object without , or }")


def _string(text: str, at: int) -> tuple[str, int]:
    found = _STRING.match(text, at)
    if found is None:
        raise RefusedError("a string that is not canonical JSON")
    return _ESCAPE.sub(_unescape, found[1]), found.end()


def _unescape(found: re.Match[str]) -> str:
    high, low, single, short = found.groups()
    if short:
        return _SHORT[short]
    if high:
        return chr(0x10000 + ((int(high, 16) & 0x3FF) << 10) + (int(low, 16) & 0x3FF))
    code = int(single, 16)
    needed = code > 0x7E or (code < 0x20 and chr(code) not in _SHORT.values())
    refuse_unless(needed and not 0xD800 <= code < 0xE000, "an escape that is not needed, or half a character")
    return chr(code)
