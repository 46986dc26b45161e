"""`pemn-compress apply`: bring a file up to date with a patch."""

from __future__ import annotations

from pathlib import Path

import click

from pemn_cli.opening import about, content_of
from pemn_cli.options import PATH, effort_option, force_option, json_option, output, packed_memory_option
from pemn_cli.output import print_json, print_line

__all__ = ["command"]


@click.command(name="apply", short_help="Make the newer file of an older one and a delta.")
@click.argument("old", metavar="OLD.pemn", type=PATH)
@click.argument("patch", metavar="PATCH.pemn", type=PATH)
@click.argument("new", metavar="NEW.pemn", type=output(".pemn"))
@effort_option
@force_option
@packed_memory_option
@json_option
def command(
    old: Path, patch: Path, new: Path, effort: str, force: bool, memory_budget: int | None, as_json: bool
) -> None:
    """Apply PATCH.pemn to OLD.pemn and write NEW.pemn.

    The patch fits one base alone; another one is refused. Nothing is written before the result has the content id
    that the patch promises. NEW.pemn may be OLD.pemn, with --force. Needs no torch.

    \b
    Example:
      pemn-compress apply monday.pemn update.pemn tuesday.pemn
    """
    from pemn_formats.atomic import check_writable
    from pemn_formats.delta import apply_delta
    from pemn_formats.writer import content_id, write

    check_writable(new, force=force)
    before, changes = (content_of(path, memory_budget=memory_budget) for path in (old, patch))
    with about(patch):
        after = apply_delta(before, changes)
    ledger = write(new, after, force=force, effort=effort)
    identity = content_id(after)
    if as_json:
        print_json({"file": str(new), "bytes": ledger.file_bytes, "content_id": identity})
    else:
        print_line(f"{new}  {ledger.file_bytes:,} B, content {identity}")
