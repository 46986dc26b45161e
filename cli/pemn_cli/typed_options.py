"""What a person typed of the options that make a run, as against what was left to defaults."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import click
from click.core import ParameterSource

from pemn_cli.train_options import RECIPE

__all__ = ["checked_options", "typed_options"]

_SHORTCUTS = ("dim", "depth", "kernel", "patch", "width")


def typed_options(ctx: click.Context) -> dict[str, Any]:
    """What the user typed, under the names of `RunConfig.to_options`."""
    given = {key: value for key, value in ctx.params.items() if key in RECIPE and _typed(ctx, key)}
    arguments = {key: given.pop(key) for key in _SHORTCUTS if key in given}
    for text in given.pop("model_arg", ()):
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise click.UsageError(f"--model-arg takes KEY=VALUE, found {text!r}.")
        arguments[key] = _value(value)
    if arguments:
        given["model_args"] = arguments
    if "randaugment" in given:
        given["randaugment_n"], given["randaugment_m"] = given.pop("randaugment")
    return given


@contextlib.contextmanager
def checked_options() -> Iterator[None]:
    """Make options that are wrong or contradict each other, and are found so inside the block, wrong usage."""
    from pemn_formats.errors import PemnError

    try:
        yield
    except PemnError as error:
        raise click.UsageError(f"{error}.") from None


def _typed(ctx: click.Context, key: str) -> bool:
    return ctx.get_parameter_source(key) not in (ParameterSource.DEFAULT, ParameterSource.DEFAULT_MAP, None)


def _value(text: str) -> int | bool | str:
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    try:
        return int(text)
    except ValueError:
        return text
