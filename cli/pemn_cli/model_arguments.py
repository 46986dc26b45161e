"""`--model-arg KEY=VALUE`: arguments of a model as a person types them."""

from __future__ import annotations

import re
from collections.abc import Sequence

import click

__all__ = ["parse"]

WORDS = {"true": True, "false": False}


def parse(pairs: Sequence[str]) -> dict[str, int | bool | str]:
    """Whole numbers become int, `true` and `false` bool, anything else stays text.

    Raises:
        click.BadParameter: a pair is not KEY=VALUE, or a key stands twice.
    """
    arguments: dict[str, int | bool | str] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key.isidentifier():
            raise click.BadParameter(f"'{pair}' is not KEY=VALUE, such as depth=6.", param_hint="'--model-arg'")
        if key in arguments:
            raise click.BadParameter(f"'{key}' is given twice.", param_hint="'--model-arg'")
        arguments[key] = int(value) if re.fullmatch(r"[+-]?[0-9]{1,18}", value) else WORDS.get(value.lower(), value)
    return arguments
