"""Killing writers: a process that writes a `.pemn` file is killed at any moment, and what is left is looked at.

    python tests/formats/kills.py FOLDER --kills 60 [--tearing]

It runs by itself, because it forks: each writer is a fork that calls `pemn_formats.writer.write`, ended by `SIGKILL`.
By turns it replaces a file and makes a new one. `--tearing` writes in place instead, to show that torn files are seen.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from samples import dense, one_tensor, random_bits

from pemn_formats.content import Content
from pemn_formats.writer import encode, write

WEIGHTS = 1 << 18


@dataclass
class Kills:
    """What so many kills left: the old file (or none where there was none), the new one, or neither."""

    kills: int = 0
    replacing: int = 0
    old: int = 0
    new: int = 0
    torn: int = 0
    temporary_files: int = 0
    other_files: int = 0
    ended_before: int = 0


Write = Callable[[Path, Content, bool], None]


def atomically(path: Path, content: Content, force: bool) -> None:
    write(path, content, force=force, effort="fast")


def in_place(path: Path, content: Content, force: bool) -> None:
    """What a writer must not do."""
    with path.open("wb", buffering=0) as file:
        data = encode(content, effort="fast")
        for at in range(0, len(data), 64):
            file.write(data[at : at + 64])


def content_of(seed: int) -> Content:
    tensor = one_tensor(WEIGHTS, bits=random_bits(WEIGHTS, 0.5, seed), seed=seed)
    return Content(seed, tensor.prototypes, tensor.masked, (dense("bias", [float(seed)] * 1000),))


def kill_writers(folder: Path, kills: int, seed: int, using: Write = atomically) -> Kills:
    """Kill so many writers. Those that ended before they could be killed are counted apart."""
    rng, path, found = random.Random(seed), folder / "a.pemn", Kills()
    contents = [content_of(1), content_of(2)]
    files = [encode(content, effort="fast") for content in contents]
    duration, old = _duration(path, contents[0], using), None
    while found.kills < kills:
        if found.ended_before > 20 * (kills + 1):
            raise RuntimeError("writers end before they can be killed")
        replacing = rng.random() < 0.5
        if replacing and old is None:
            path.write_bytes(files[0])
            old = files[0]
        elif not replacing:
            path.unlink(missing_ok=True)
            old = None
        new = int(old == files[0])
        if not _killed(path, contents[new], replacing, rng.random() * duration, using):
            found.ended_before += 1
            old = files[new]
            continue
        left = path.read_bytes() if path.exists() else None
        found.kills += 1
        found.replacing += replacing
        found.old += left == old
        found.new += left == files[new]
        found.torn += left not in (old, files[new])
        old = left if left in files else None
        _clear(folder, path, found)
    return found


def _killed(path: Path, content: Content, force: bool, after: float, using: Write) -> bool:
    """Whether a writer that was to be killed after so many seconds was still at it."""
    process = os.fork()
    if not process:
        code = 1
        try:
            using(path, content, force)
            code = 0
        finally:
            os._exit(code)
    time.sleep(after)
    os.kill(process, signal.SIGKILL)  # it is not waited for yet, so that nobody else can have its number
    status = os.waitpid(process, 0)[1]
    if os.WIFEXITED(status) and os.WEXITSTATUS(status):
        raise RuntimeError("a writer failed by itself")
    return os.WIFSIGNALED(status)


def _duration(path: Path, content: Content, using: Write) -> float:
    """About how long a writer takes, from its birth to its end: the longest of five."""
    seconds = []
    for _ in range(5):
        path.unlink(missing_ok=True)
        begin = time.perf_counter()
        if process := os.fork():
            os.waitpid(process, 0)
        else:
            try:
                using(path, content, False)
            finally:
                os._exit(0)
        seconds.append(time.perf_counter() - begin)
    path.unlink(missing_ok=True)
    return max(seconds)


def _clear(folder: Path, path: Path, found: Kills) -> None:
    for other in folder.iterdir():
        if other != path:
            temporary = other.name.startswith(f".{path.name}.") and other.suffix == ".tmp"
            found.temporary_files += temporary
            found.other_files += not temporary
            other.unlink()


def run_kills(folder: Path, kills: int, *, seed: int = 0, tearing: bool = False) -> Kills:
    """Kill writers in a process of its own, which has no other threads that a fork could break."""
    done = subprocess.run(
        [sys.executable, __file__, str(folder), "--kills", str(kills), "--seed", str(seed)] + ["--tearing"] * tearing,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(done.stderr)
    return Kills(**json.loads(done.stdout))


def main() -> None:
    parser = argparse.ArgumentParser(description="Kill writers and count what they leave.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--kills", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--tearing", action="store_true", help="write in place, to see torn files")
    given = parser.parse_args()
    found = kill_writers(given.folder, given.kills, given.seed, in_place if given.tearing else atomically)
    sys.stdout.write(json.dumps(asdict(found)) + "\n")


if __name__ == "__main__":
    main()
