"""The exit codes of every command."""

from __future__ import annotations

__all__ = ["BAD_FILE", "FAILURE", "INTERRUPTED", "OK", "USAGE"]

OK = 0
FAILURE = 1
"""An expected failure: a missing file, an output that exists, a disk that is full."""
USAGE = 2
"""The command line itself is wrong."""
BAD_FILE = 3
"""A file is damaged, hostile, or not a `.pemn` container."""
INTERRUPTED = 130
"""Ctrl-C."""
