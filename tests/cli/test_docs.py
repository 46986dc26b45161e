"""Every command has a help text with an example, and a place in `cli/README.md` that names all its options."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest

from pemn_cli.main import COMMANDS, cli

README = Path(__file__).parents[2] / "cli" / "README.md"


def command_of(name: str) -> click.Command:
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    return command


def section(name: str) -> str:
    """The text of README.md from the command's heading to the next one."""
    if not README.exists():
        pytest.skip("the sources are not here")
    parts = re.split(r"^## (.+)$", README.read_text("utf-8"), flags=re.MULTILINE)
    sections = dict(zip(parts[1::2], parts[2::2], strict=True))
    assert f"`{name}`" in sections, f"cli/README.md has no section for {name}"
    return sections[f"`{name}`"]


@pytest.mark.parametrize("name", COMMANDS)
def test_help_has_an_example(name: str, run: Callable[..., Any]) -> None:
    result = run(name, "--help")
    assert (result.code, result.err) == (0, "")
    assert re.search(r"Examples?:\n +pemn-compress " + name, result.out)
    assert max(map(len, result.out.splitlines())) <= 110


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_says_what_it_does(name: str) -> None:
    for parameter in command_of(name).params:
        assert not isinstance(parameter, click.Option) or parameter.help


@pytest.mark.parametrize("name", COMMANDS)
def test_the_readme_shows_the_help_as_it_is(name: str, run: Callable[..., Any]) -> None:
    (shown,) = re.findall(
        rf"^\$ pemn-compress {name} --help\n(.*?)^```$", section(name), flags=re.MULTILINE | re.DOTALL
    )
    assert shown.split() == run(name, "--help").out.split()  # lines break where the terminal ends


@pytest.mark.parametrize("name", COMMANDS)
def test_the_readme_names_every_option(name: str) -> None:
    text = section(name)
    assert f"$ pemn-compress {name}" in text
    options = {option for parameter in command_of(name).params for option in parameter.opts if option.startswith("--")}
    assert sorted(option for option in options if not re.search(rf"{option}(?![\w-])", text)) == []


@pytest.mark.parametrize("name", COMMANDS)
def test_the_readme_invents_no_option(name: str) -> None:
    known = {option for parameter in command_of(name).params for option in (*parameter.opts, *parameter.secondary_opts)}
    for line in re.findall(rf"^\s*\$? ?pemn-compress {name} (.*)$", section(name), flags=re.MULTILINE):
        typed = {word.partition("=")[0] for word in shlex.split(line) if word.startswith("--")}
        assert typed <= known | {"--help"}


def test_the_front_page_types_what_there_is() -> None:
    front = README.parents[1] / "README.md"
    if not front.exists():
        pytest.skip("the sources are not here")
    found = re.findall(r"^pemn-compress (\S+)(.*?)(?:#.*)?$", front.read_text("utf-8"), flags=re.MULTILINE)
    assert len(found) >= 8
    for name, rest in found:
        typed = {word.partition("=")[0] for word in shlex.split(rest) if word.startswith("--")}
        assert typed <= {option for parameter in command_of(name).params for option in parameter.opts}, name
