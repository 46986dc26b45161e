"""How much memory this process can still take."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

__all__ = ["available_memory"]

_GROUPS = Path("/sys/fs/cgroup")
_UNLIMITED = 1 << 60  # what version 1 of control groups says instead of "max"


def available_memory() -> int | None:
    """Return bytes: the least of what the machine (with swap), its control group and `ulimit -v` leave; None: unknown.

    Only Linux says. What it caches of files counts as free.
    """
    return min(_limits(), default=None)


def _limits() -> Iterator[int]:
    machine = _fields("/proc/meminfo")
    if "MemAvailable" in machine:
        yield 1024 * (machine["MemAvailable"] + machine.get("SwapFree", 0))
    for folder, most, used in (
        (_GROUPS, "memory.max", "memory.current"),
        (_GROUPS / "memory", "memory.limit_in_bytes", "memory.usage_in_bytes"),
    ):
        limit, taken = _number(folder / most), _number(folder / used)
        if limit is not None and limit < _UNLIMITED and taken is not None:
            stat = _fields(folder / "memory.stat")
            yield max(0, limit - taken + stat.get("inactive_file", 0) + stat.get("active_file", 0))
    address_space = _address_space()
    if address_space is not None:
        yield address_space


def _address_space() -> int | None:
    """What `ulimit -v` leaves."""
    try:
        import resource
    except ImportError:  # not on Windows
        return None
    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    if soft == resource.RLIM_INFINITY:
        return None
    return max(0, soft - 1024 * _fields("/proc/self/status").get("VmSize", 0))


def _fields(path: str | Path) -> dict[str, int]:
    """Lines of a word and a number; empty where there is no such file."""
    try:
        lines = Path(path).read_text().splitlines()
    except OSError:
        return {}
    parts = (line.replace(":", " ").split() for line in lines)
    return {words[0]: int(words[1]) for words in parts if len(words) > 1 and words[1].isdigit()}


def _number(path: Path) -> int | None:
    try:
        text = path.read_text().strip()
    except OSError:
        return None
    return int(text) if text.isdigit() else None
