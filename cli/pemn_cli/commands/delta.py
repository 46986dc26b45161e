"""`pemn-compress delta`: the update from one file to another."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from pemn_cli.opening import content_of
from pemn_cli.options import PATH, effort_option, force_option, json_option, output, packed_memory_option
from pemn_cli.output import percent, print_json, print_table, status

__all__ = ["command"]


@click.command(name="delta", short_help="Write the update from one file to another.")
@click.argument("old", metavar="OLD.pemn", type=PATH)
@click.argument("new", metavar="NEW.pemn", type=PATH)
@click.argument("patch", metavar="PATCH.pemn", type=output(".pemn"))
@effort_option
@force_option
@packed_memory_option
@json_option
def command(
    old: Path, new: Path, patch: Path, effort: str, force: bool, memory_budget: int | None, as_json: bool
) -> None:
    """Write what turns OLD.pemn into NEW.pemn to PATCH.pemn, for those who have the old file.

    Masks are stored as the bits that changed, other values as their differences. The patch names its base and its
    result by content id, and is applied once before it appears. Needs no torch.

    \b
    Example:
      pemn-compress delta monday.pemn tuesday.pemn update.pemn
    """
    from pemn_formats.atomic import atomic_write, check_writable
    from pemn_formats.delta import apply_delta, make_delta
    from pemn_formats.reader import Reader
    from pemn_formats.writer import encode

    check_writable(patch, force=force)
    before, after = (content_of(path, memory_budget=memory_budget) for path in (old, new))
    data = encode(make_delta(before, after), effort=effort)
    with Reader.open(data) as reader:
        sections, delta = reader.prelude, reader.manifest.delta
        apply_delta(before, reader.content())
    with atomic_write(patch, force=force) as file:
        file.write(data)
    report: dict[str, Any] = {
        "file": str(patch),
        "bytes": len(data),
        "new_bytes": new.stat().st_size,
        "header": sections.header_bytes,
        "prototypes": sections.prototype_stored,
        "masks": sections.mask_stored,
        "residual": sections.residual_stored,
        "base": delta and delta.base,
        "result": delta and delta.result,
    }
    if report["bytes"] >= report["new_bytes"]:
        status(f"the patch is no smaller than {new}; send that instead")
    if as_json:
        print_json(report)
    else:
        _print(report, new)


def _print(report: dict[str, Any], new: Path) -> None:
    print_table([[name, str(report[name])] for name in ("base", "result")])
    share = percent(report["bytes"] / report["new_bytes"])
    print_table(
        [
            *([part, f"{report[part]:,} B", ""] for part in ("header", "prototypes", "masks", "residual")),
            ["patch", f"{report['bytes']:,} B", f"{share} of {new} ({report['new_bytes']:,} B)"],
        ],
        align="lrl",
    )
