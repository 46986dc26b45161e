"""`--model-arg KEY=VALUE`."""

from __future__ import annotations

import click
import pytest

from pemn_cli.model_arguments import parse


def test_values_take_the_type_they_look_like() -> None:
    found = parse(["depth=6", "norm=False", "activation=relu", "shift=-1", "name=a=b", "empty="])
    assert found == {"depth": 6, "norm": False, "activation": "relu", "shift": -1, "name": "a=b", "empty": ""}
    assert type(found["norm"]) is bool


@pytest.mark.parametrize("pairs", [["depth"], ["=6"], ["2x=6"], ["depth=1", "depth=2"]])
def test_what_is_no_pair(pairs: list[str]) -> None:
    with pytest.raises(click.BadParameter):
        parse(pairs)
