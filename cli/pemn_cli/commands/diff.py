"""`pemn-compress diff`: what differs between two files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pemn_cli.opening import about, content_of
from pemn_cli.options import PATH, json_option, packed_memory_option
from pemn_cli.output import percent, print_json, print_line, print_table

if TYPE_CHECKING:
    from pemn_formats.diff import Diff

__all__ = ["command"]


@click.command(name="diff", short_help="Show which masks, values and settings of two files differ.")
@click.argument("left", metavar="A.pemn", type=PATH)
@click.argument("right", metavar="B.pemn", type=PATH)
@packed_memory_option
@json_option
def command(left: Path, right: Path, memory_budget: int | None, as_json: bool) -> None:
    """Show which masks differ and by how many bits, which other values and by how much, and which settings.

    Only what differs is listed; --json lists every tensor. Files of equal content id are equal in all that a model
    is made of, however they are coded. The exit code is 0 either way. Needs no torch.

    \b
    Example:
      pemn-compress diff monday.pemn tuesday.pemn
    """
    from pemn_formats.bundle import not_a_model
    from pemn_formats.diff import diff

    contents = []
    for path in (left, right):
        content = content_of(path, memory_budget=memory_budget)
        with about(path):
            if content.delta is not None:
                raise not_a_model(content.delta)
        contents.append(content)
    found = diff(*contents)
    if as_json:
        print_json({"files": [str(left), str(right)], **found.to_dict()})
    else:
        _print(found)


def _print(found: Diff) -> None:
    if found.equal:
        print_line(f"equal: both hold content {found.left}")
    else:
        print_table([["content of A", found.left], ["content of B", found.right]], align="l")
    _print_masks(found)
    _print_values(found)
    if found.settings:
        print_line()
        print_table(
            [[each.of or "-", each.setting, _shown(each.left), _shown(each.right)] for each in found.settings],
            header=["of", "setting", "A", "B"],
            align="l",
        )
    for side, names in (("A", found.only_left), ("B", found.only_right)):
        if names:
            print_line()
            print_table([[name] for name in names], header=[f"only in {side}"])


def _print_masks(found: Diff) -> None:
    changed = [each for each in found.masks if each.changed]
    if not changed:
        return
    weights, total = sum(each.weights for each in found.masks), sum(each.changed for each in found.masks)
    rows = [(each.name, each.weights, each.changed) for each in changed]
    print_line()
    print_table(
        [
            [name, f"{count:,}", f"{bits:,}", percent(bits / count)]
            for name, count, bits in [*rows, (f"all {len(found.masks)} masks", weights, total)]
        ],
        header=["mask", "weights", "changed", "share"],
        align="lrrr",
    )


def _print_values(found: Diff) -> None:
    changed = [each for each in found.values if each.changed]
    if not changed:
        return
    print_line()
    print_table(
        [
            [
                each.name,
                each.kind,
                f"{each.values:,}",
                f"{each.changed:,}",
                "not finite" if each.largest is None else f"{each.largest:.4g}",
            ]
            for each in changed
        ],
        header=["values", "kind", "count", "changed", "largest change"],
        align="llrrr",
    )


def _shown(value: Any) -> str:
    return "-" if value is None else value if isinstance(value, str) else json.dumps(value, sort_keys=True)
