"""Turn whatever a command raised into one line and an exit code."""

from __future__ import annotations

import re

import click

from pemn_cli import exit_codes

__all__ = ["Interrupted", "describe", "one_line", "printable"]


class Interrupted(KeyboardInterrupt):
    """Ctrl-C in a command that knows what the user can do next.

    Args:
        hint: one line, for example how to resume.
    """

    def __init__(self, hint: str) -> None:
        super().__init__(hint)
        self.hint = hint


def one_line(text: str) -> str:
    """`text` on one line, `printable`."""
    return printable(" ".join(part.strip() for part in text.splitlines() if part.strip()))


def printable(text: str) -> str:
    """`text` with its control characters spelt out: names in a hostile file cannot drive the terminal."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def describe(error: BaseException) -> tuple[int, str]:
    """The exit code and the line (without the leading `error: `) for what a command raised.

    An error that no rule here expects is a bug of ours; the line says so and how to see the traceback.
    """
    # pemn_formats imports numpy, which `--help` has no time for.
    from pemn_formats.errors import FormatError, PemnError

    if isinstance(error, FormatError):
        return exit_codes.BAD_FILE, one_line(str(error))
    if isinstance(error, PemnError):
        return exit_codes.FAILURE, one_line(str(error))
    if isinstance(error, click.ClickException):
        return error.exit_code, one_line(_usage(error))
    if isinstance(error, KeyboardInterrupt | click.Abort):
        hint = f": {error.hint}" if isinstance(error, Interrupted) else ""
        return exit_codes.INTERRUPTED, one_line(f"interrupted{hint}")
    if isinstance(error, OSError):
        return exit_codes.FAILURE, one_line(_system(error))
    if _is_out_of_memory(error):
        return exit_codes.FAILURE, one_line(f"out of memory{_wanted(error)}")
    name = type(error).__name__
    return exit_codes.FAILURE, one_line(f"internal error, {name}{_because(error)} (PEMN_DEBUG=1 shows the traceback)")


def _is_out_of_memory(error: BaseException) -> bool:
    """torch's allocator of main memory raises a plain RuntimeError, which is known by its words alone."""
    words = ("DefaultCPUAllocator", "not enough memory", "out of memory", "Cannot allocate memory")
    known = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    return known or (isinstance(error, RuntimeError) and any(each in str(error) for each in words))


def _wanted(error: BaseException) -> str:
    """How much was asked for, where the error says so; torch's own text goes on with source lines and a stack."""
    asked = re.search(r"tried to allocate ([0-9]+) bytes", str(error))
    if asked:
        return f": {int(asked[1]):,} bytes could not be had"
    return _because(error)


def _because(error: BaseException) -> str:
    return f": {error}" if str(error) else ""


def _usage(error: click.ClickException) -> str:
    message = error.format_message()
    context = error.ctx if isinstance(error, click.UsageError) else None
    return f"{message} See '{context.command_path} --help'." if context else message


def _system(error: OSError) -> str:
    reason = error.strerror or str(error) or type(error).__name__
    return f"{error.filename}: {reason}" if error.filename is not None else reason
