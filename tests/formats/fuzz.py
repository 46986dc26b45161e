"""Structure-aware fuzzing of the reader, and of what works on what it has read.

What must hold for every file, however it was changed: nothing but `FormatError` leaves `read`, as one short printable
line, in less than a second, in bounded memory. What is accepted is written again with the same `content_id`, can be
rebuilt, compared, counted and patched. A longer run than the tests' is `python -m benchmarks.faults`.
"""

from __future__ import annotations

import random
import re
import resource
import sys
import time
import tracemalloc
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path

from mutations import mutate
from originals import originals

from pemn_formats.bundle import parts
from pemn_formats.content import Content
from pemn_formats.delta import apply_delta, make_delta
from pemn_formats.diff import diff
from pemn_formats.errors import FormatError, PemnError
from pemn_formats.reader import Reader, read
from pemn_formats.reconstruct import state
from pemn_formats.writer import content_id, encode

BUDGET = 1 << 21
# Seldom traced: every start and stop of CPython's tracemalloc leaves some 4 kB that nobody frees.
THOROUGH, TRACED = 8, 128
"""One case of so many is read by two threads and checked thoroughly, one of so many is read with its memory traced."""
_CHANGING = re.compile(r"""b?'[^']*'|b"[^"]*"|(?<![\w-])-?[0-9][\w.+^-]*|\[.*\]""")
_GIVES = re.compile("the delta gives content ([0-9a-f]{64}), but promises [0-9a-f]{64}")


@dataclass
class Stats:
    """What a run saw.

    `refusals` counts errors without their names and numbers. `escapes` are broken promises; the first files that broke
    one are kept. `slowest` is in CPU seconds of a read that was not traced. `peak_bytes` is the most that Python and
    numpy held during a traced read, `resident_growth` how far the process grew, the C code and all checks included.
    """

    cases: int = 0
    accepted: int = 0
    patched: int = 0
    traced: int = 0
    slowest: float = 0.0
    seconds: float = 0.0
    peak_bytes: int = 0
    resident_growth: int = 0
    refusals: Counter[str] = field(default_factory=Counter)
    escapes: list[str] = field(default_factory=list)


def fuzz(cases: int, seed: int, *, seconds: float = float("inf"), keep: Path = Path()) -> Stats:
    """Run a number of cases, or as many as fit into the seconds; files that break a promise go to the folder `keep`."""
    rng = random.Random(seed)
    files = originals()
    stats = Stats()
    begin, resident = time.perf_counter(), _peak_resident()
    while stats.cases < cases and time.perf_counter() - begin < seconds:
        original = rng.choice(files)
        data = mutate(rng, original.forge)
        try:
            _case(data, original.base, stats)
        except (Exception, SystemExit) as error:  # noqa: BLE001
            stats.escapes.append(f"{type(error).__name__}: {error}")
            if len(stats.escapes) <= 10:
                (keep / f"fuzz-{seed}-{stats.cases}.pemn").write_bytes(data)
        stats.cases += 1
    stats.seconds = time.perf_counter() - begin
    stats.resident_growth = _peak_resident() - resident
    return stats


def _case(data: bytes, base: Content, stats: Stats) -> None:
    thorough = stats.cases % THOROUGH == 0
    try:
        content = _read(data, stats, threads=2 if thorough else 1)
    except FormatError as error:
        stats.refusals[_CHANGING.sub("~", _one_line(error))] += 1
        return
    stats.accepted += 1
    with Reader.open(data, memory_budget=BUDGET) as reader:
        _promise(reader.content_id() == content_id(content), "tensors read one by one have another content_id")
        if not thorough:
            return
        _promise(_again(content) == content_id(content), "written again it has another content_id")
        if content.delta is None:
            _rebuild(content)
            reader.ledger()
            _compare(base, content)
        else:
            stats.patched += _apply(base, content)


def _read(data: bytes, stats: Stats, *, threads: int) -> Content:
    if stats.cases % TRACED == 0:
        tracemalloc.start()
        try:
            return read(data, memory_budget=BUDGET, threads=threads)
        finally:
            stats.traced += 1
            stats.peak_bytes = max(stats.peak_bytes, tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
    begin = time.process_time()
    try:
        return read(data, memory_budget=BUDGET, threads=threads)
    finally:
        stats.slowest = max(stats.slowest, time.process_time() - begin)


def _again(content: Content) -> str:
    return content_id(read(encode(content), memory_budget=BUDGET))


def _rebuild(content: Content) -> None:
    """What is accepted can be rebuilt, whatever its numbers are."""
    if sum(tensor.numel for tensor in content.masked) < 1 << 16:
        for model in parts(content).values() if content.tasks else (content,):
            state(model)


def _compare(base: Content, content: Content) -> None:
    """A stranger's model can be compared with one's own, and the update to it gives it."""
    if base.delta is not None:
        return
    diff(base, content).to_dict()
    patch = read(encode(make_delta(base, content)))
    _promise(content_id(apply_delta(base, patch)) == content_id(content), "the update to it gives something else")


def _apply(base: Content, patch: Content) -> bool:
    """A stranger's patch is refused, or gives a sound model; here both identities that it names are repaired."""
    assert patch.delta is not None
    patch = replace(patch, delta=replace(patch.delta, base=content_id(base)))
    try:
        new = apply_delta(base, patch)
    except FormatError as error:
        found = _GIVES.fullmatch(_one_line(error))
        if found is None:
            return False
        new = apply_delta(base, replace(patch, delta=replace(patch.delta, result=found.group(1))))
    try:
        again = _again(new)
    except PemnError as error:
        _one_line(error)
        return False
    _promise(again == content_id(new), "what a patch gives has another content_id when it is written")
    return True


def _one_line(error: Exception) -> str:
    text = str(error)
    _promise(text.isprintable() and len(text) <= 500, f"an error that is not one short printable line: {text!r}")
    return text


def _promise(kept: bool, what: str) -> None:
    if not kept:
        raise AssertionError(what)


def _peak_resident() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak << 10
