"""What do damaged, hostile and half-written files do to the container?

    python -m benchmarks.faults [--cases N] [--kills N] [--seconds LIMIT]

Two runs of the tests' own code, longer than the tests can be. The fuzzer changes sound files where it hurts, repairs
every digest, and asks the reader: nothing but `FormatError` may come out, in little time and memory, and what is
accepted must be read, written, compared and patched without loss. Writers are killed (`SIGKILL`) at random moments, and
a file that is neither the old nor the new one is torn; the same is done to writers that write in place, which tear.
A killed process says nothing of a machine that loses power.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

# The fuzzer and what it starts from stand beside the tests of the container.
sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "formats"))

from fuzz import BUDGET, Stats, fuzz
from kills import run_kills
from originals import originals

from benchmarks.table import render

TEARING_KILLS = 100


def fuzzed(stats: Stats, asked: int, seed: int) -> dict[str, Any]:
    """A run of the fuzzer as facts."""
    return {
        "cases_asked": asked,
        "cases": stats.cases,
        "seed": seed,
        "originals": [each.name for each in originals()],
        "escapes": len(stats.escapes),
        "first_escapes": stats.escapes[:10],
        "accepted": stats.accepted,
        "refused": sum(stats.refusals.values()),
        "patches_applied": stats.patched,
        "slowest_case_seconds": round(stats.slowest, 4),
        "memory_budget_bytes": BUDGET,
        "traced_cases": stats.traced,
        "peak_traced_bytes": stats.peak_bytes,
        "resident_growth_bytes": stats.resident_growth,
        "wall_seconds": round(stats.seconds, 1),
        "kinds_of_refusal": len(stats.refusals),
        "refusals": dict(stats.refusals.most_common()),
    }


def killed(kills: int, seed: int) -> dict[str, Any]:
    """Writers killed: ours, and some that write in place."""
    found = {}
    for name, count, tearing in (("atomic", kills, False), ("in_place", min(kills, TEARING_KILLS), True)):
        with tempfile.TemporaryDirectory() as folder:
            found[name] = asdict(run_kills(Path(folder), count, seed=seed, tearing=tearing))
    return found


def show(results: dict[str, Any]) -> str:
    """Both runs as tables; of the refusals the most frequent."""
    run = results["fuzz"]
    facts = [[key, run[key]] for key, value in run.items() if isinstance(value, (int, float))]
    frequent = [[count, text] for text, count in list(run["refusals"].items())[:20]]
    writers = [[name, *found.values()] for name, found in results["kills"].items()]
    header = ["writer", *(key.replace("_", " ") for key in results["kills"]["atomic"])]
    return "\n\n".join(
        (render(["fuzzing", ""], facts), render(["times", "refusal"], frequent), render(header, writers))
    )


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=2_000_000)
    parser.add_argument("--seconds", type=float, default=float("inf"), help="stop fuzzing after so many")
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--keep", type=Path, default=Path(), help="the folder for files that break a promise")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args(arguments)
    results = {
        "kills": killed(options.kills, options.seed),
        "fuzz": fuzzed(
            fuzz(options.cases, options.seed, seconds=options.seconds, keep=options.keep), options.cases, options.seed
        ),
    }
    print(show(results))
    # Late, because torch comes with it, and what that takes would hide what fuzzing takes.
    from benchmarks.record import RESULTS, write_results

    write_results(options.out or RESULTS / "faults.json", results)


if __name__ == "__main__":
    main()
