"""The `pemn-compress` command: finds the subcommand, runs it, and ends with an exit code."""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
from collections.abc import Sequence

import click

from pemn_cli import exit_codes
from pemn_cli.failures import describe
from pemn_cli.ranks import speaks

__all__ = ["cli", "main"]

COMMANDS = {
    "plan": "pemn_cli.commands.plan",
    "train": "pemn_cli.commands.train",
    "plot": "pemn_cli.commands.plot",
    "export": "pemn_cli.commands.export",
    "load": "pemn_cli.commands.load",
    "eval": "pemn_cli.commands.eval",
    "size-report": "pemn_cli.commands.size_report",
    "inspect": "pemn_cli.commands.inspect",
    "verify": "pemn_cli.commands.verify",
    "diff": "pemn_cli.commands.diff",
    "delta": "pemn_cli.commands.delta",
    "apply": "pemn_cli.commands.apply",
    "bundle": "pemn_cli.commands.bundle",
    "demo": "pemn_cli.commands.demo",
}
"""Command name to the module that defines it as `command`; at its top such a module imports nothing slow."""


class _StoppedError(Exception):
    """Carries what click would otherwise handle in its own way (Ctrl-C, a closed pipe) out to `main`."""


class _LazyGroup(click.Group):
    """A group whose commands are imported when they are asked for, listed in the order of the work."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(COMMANDS[cmd_name]).command
        return command

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except (KeyboardInterrupt, OSError) as error:
            raise _StoppedError from error


def _version(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        from pemn_formats.version import __version__

        click.echo(f"pemn-compress {__version__}")
        ctx.exit()


@click.group(
    cls=_LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog="Start with: pemn-compress demo",
)
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=_version, help="Show the version.")
def cli() -> None:
    """Train a network as one-bit masks over weights that cost nothing, and ship it as a tiny .pemn file."""


def main(args: Sequence[str] | None = None) -> None:
    """Run one command and exit: 0 done, 1 an expected failure, 2 wrong usage, 3 a bad file, 130 Ctrl-C.

    Results go to stdout; everything else, including the one line that explains a failure, to stderr.
    """
    _open_streams()
    arguments = list(sys.argv[1:] if args is None else args) or ["--help"]
    sys.exit(_run(arguments))


def _open_streams() -> None:
    """Where the caller closed stdout or stderr, write to nothing, and let no file of ours get their numbers."""
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(number)
    for stream in ("stdout", "stderr"):
        if getattr(sys, stream) is None:
            setattr(sys, stream, open(os.devnull, "w"))  # noqa: SIM115  as long as the process


def _run(arguments: list[str]) -> int:
    try:
        code = cli.main(arguments, prog_name="pemn-compress", standalone_mode=False)
        sys.stdout.flush()
    except (Exception, KeyboardInterrupt) as raised:  # noqa: BLE001  the one place where every failure becomes a line
        error = raised.__cause__ if isinstance(raised, _StoppedError) and raised.__cause__ else raised
        if isinstance(error, OSError):
            _discard_unwritten_output()
        if isinstance(error, BrokenPipeError):
            return exit_codes.FAILURE
        if os.environ.get("PEMN_DEBUG"):
            raise error from None
        exit_code, line = describe(error)
        if speaks():
            with contextlib.suppress(OSError):
                click.echo(f"error: {line}", err=True)
        return exit_code
    return code if isinstance(code, int) else exit_codes.OK


def _discard_unwritten_output() -> None:
    """Point a stdout that takes no more at nothing; the interpreter's last flush would complain about it."""
    try:
        sys.stdout.flush()
    except OSError:
        with open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), sys.stdout.fileno())
