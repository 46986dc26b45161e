"""Put the numbers of `results/` into the README, between the markers that name them.

    python -m benchmarks.readme [--check]

Each region `<!-- results:NAME -->` is written from its JSON file alone. With `--check` nothing is written, and the exit
code is 1 if a region is out of date.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from benchmarks.markdown import byte_count, table, where
from benchmarks.readme_budgets import budgets, budgets_digits, recipes, recipes_in_full
from benchmarks.readme_files import delta_size, residual_dtypes
from benchmarks.readme_levers import levers, levers_20
from benchmarks.readme_loading import load_in_place, load_learned, load_time
from benchmarks.readme_packed import packed_inference
from benchmarks.readme_reference import reference_baseline, reference_seconds, reference_speed
from benchmarks.readme_short import short_training
from benchmarks.readme_storage import masks, storage
from benchmarks.readme_training import learners, mask_cost, mask_cost_own_loop, training_memory
from benchmarks.record import RESULTS

__all__ = ["README", "REGIONS", "updated"]

README = Path(__file__).parent.parent / "README.md"


def updated(text: str, results: Path = RESULTS) -> str:
    """Return the README's text with every region written anew; a region without its file says what is missing."""

    def region(match: re.Match[str]) -> str:
        name = match["name"]
        source, render = REGIONS[name]
        path = results / f"{source}.json"
        missing = f"(not measured yet: `results/{source}.json`)"
        body = render(json.loads(path.read_text())) if path.is_file() else missing
        return f"<!-- results:{name} -->\n{body}\n<!-- /results:{name} -->"

    pattern = r"<!-- results:(?P<name>\w+) -->\n.*?<!-- /results:(?P=name) -->"
    return re.sub(pattern, region, text, flags=re.DOTALL)


def headline(results: Mapping[str, Any]) -> str:
    """The number that the README opens with."""
    total = results["summary"]
    loaded, dense = total["accuracy_loaded"], total["dense_accuracy"]
    return (
        f"On the embedded digits, a network that takes {byte_count(total['dense_bytes']['mean'])} as dense float32"
        f" reaches **{loaded['mean']:.1f} % ± {loaded['sd']:.1f} test accuracy from a file of"
        f" {byte_count(total['file_bytes']['mean'])}** ({total['ratio_float32']['mean']:.1f} times smaller);"
        f" with ordinary weights and the same recipe it reaches {dense['mean']:.1f} % ± {dense['sd']:.1f}"
        f" ({len(results['runs'])} seeds, {where(results)}; `python -m benchmarks.digits_seeds`)."
    )


def digits(results: Mapping[str, Any]) -> str:
    """The digits over seeds, least and greatest too."""
    total = results["summary"]
    rows = [
        (name, *(f"{total[key][figure]:{form}}" for figure in ("mean", "sd", "min", "max")))
        for name, key, form in (
            ("masked, trained, test accuracy %", "accuracy_trained", ".2f"),
            ("masked, loaded from the file, %", "accuracy_loaded", ".2f"),
            ("the file, bytes", "file_bytes", ",.0f"),
            ("dense, test accuracy %", "dense_accuracy", ".2f"),
        )
    ]
    title = f"Embedded digits, {len(results['runs'])} seeds (`python -m benchmarks.digits_seeds`, {where(results)}):"
    return f"{title}\n\n{table(('', 'mean', 'sd', 'least', 'greatest'), rows)}"


def two_processes(results: Mapping[str, Any]) -> str:
    """What one process and two make of the same recipe."""
    total = results["summary"]
    one, two = (f"{each['mean']:.1f} % ± {each['sd']:.1f}" for each in (total["test_one"], total["test_two"]))
    if not total["masks_equal"]:
        raise ValueError("the processes ended with different masks")
    seeds = sum(name.isdigit() for name in results["runs"]["one"])
    return (
        f"Over {seeds} seeds of the digits, {results['epochs']} epochs, two processes reach {two} test accuracy and one"
        f" process {one}; the masks were equal in both processes, bit for bit, every time"
        f" ({where(results)}, one thread each; `python -m benchmarks.two_processes`)."
    )


REGIONS: Mapping[str, tuple[str, Callable[[Mapping[str, Any]], str]]] = {
    "headline": ("digits_seeds", headline),
    "digits": ("digits_seeds", digits),
    "two_processes": ("two_processes", two_processes),
    "storage": ("storage_ratio", storage),
    "masks": ("mask_codecs", masks),
    "short_training": ("short_training", short_training),
    "reference_speed": ("reference_speed", reference_speed),
    "reference_baseline": ("reference_baseline", reference_baseline),
    "reference_seconds": ("reference_seconds", reference_seconds),
    "budgets": ("budgets", budgets),
    "budgets_digits": ("budgets_digits", budgets_digits),
    "recipes": ("recipes", recipes),
    "recipes_in_full": ("recipes_in_full", recipes_in_full),
    "learners": ("learners", learners),
    "levers": ("levers", levers),
    "levers_20": ("levers_20", levers_20),
    "residual_dtypes": ("residual_dtypes", residual_dtypes),
    "delta_size": ("delta_size", delta_size),
    "mask_cost": ("mask_cost", mask_cost),
    "mask_cost_own_loop": ("mask_cost_own_loop", mask_cost_own_loop),
    "training_memory": ("training_memory", training_memory),
    "load_time": ("load_time", load_time),
    "load_learned": ("load_learned", load_learned),
    "load_in_place": ("load_in_place", load_in_place),
    "load_in_place_numpy": ("load_in_place_numpy", load_in_place),
    "packed_inference": ("packed_inference_cpu", packed_inference),
}


def main() -> None:
    """Rewrite the README, or check it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; fail if something would change")
    check = parser.parse_args().check
    new = updated(text := README.read_text())
    if check:
        sys.exit(int(new != text))
    README.write_text(new)


if __name__ == "__main__":
    main()
