"""JSON in the one form that a manifest may have: sorted keys, no spaces, ASCII, no floats, integers of 64 bits."""

from __future__ import annotations

import json
from typing import Any, NoReturn

from pemn_formats.errors import FormatError
from pemn_formats.limits import MAX_MANIFEST_ITEMS

__all__ = ["dump", "parse"]

_MOST_DIGITS = 20


def dump(value: Any) -> bytes:
    """Return the canonical bytes of a value made of dicts, lists, strings, integers, booleans and None."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False).encode("ascii")


def parse(raw: bytes) -> Any:
    """Return the value of canonical bytes; raise `FormatError` for any other bytes, duplicate keys and floats.

    Integers beyond 64 bits and halves of surrogate pairs are refused too: other languages' readers could not hold them.
    """
    # Every value but the first follows one of these; that strings may hold them too only makes the bound tighter.
    if sum(map(raw.count, (b",", b"[", b"{"))) > MAX_MANIFEST_ITEMS:
        raise FormatError(f"the manifest holds more than {MAX_MANIFEST_ITEMS} values")
    try:
        value = json.loads(
            raw.decode("ascii"),
            object_pairs_hook=_unique,
            parse_int=_integer,
            parse_float=_no_float,
            parse_constant=_no_float,
        )
        again = dump(value)
        if b"\\ud" in raw:
            json.dumps(value, ensure_ascii=False).encode()
    except FormatError:
        raise
    except UnicodeEncodeError:
        raise FormatError("the manifest holds half of a surrogate pair") from None
    except (ValueError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else " ".join(str(error).split())[:120]
        raise FormatError(f"the manifest is not JSON: {reason}") from None
    if again != raw:
        raise FormatError("the manifest is not canonical JSON (sorted keys, no spaces, ASCII)")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for key, value in pairs:
        if key in out:
            raise FormatError(f"the manifest has the key {key[:60]!a} twice")
        out[key] = value
    return out


def _no_float(text: str) -> NoReturn:
    raise FormatError(f"the manifest holds the number {text[:40]}; only integers are allowed")


def _integer(text: str) -> int:
    if len(text) <= _MOST_DIGITS and -(1 << 63) <= (value := int(text)) < 1 << 64:
        return value
    raise FormatError(f"the manifest holds the integer {text[:24]}, expected -2^63 to 2^64 - 1")
