"""`pemn-compress bundle`: several models over one set of values in one file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from pemn_cli.opening import content_of
from pemn_cli.options import effort_option, force_option, json_option, output, packed_memory_option
from pemn_cli.output import percent, print_json, print_table

__all__ = ["command"]


@click.command(name="bundle", short_help="Put several models over the same values into one file.")
@click.argument("out", metavar="OUT.pemn", type=output(".pemn"))
@click.argument("models", metavar="NAME=FILE.pemn...", nargs=-1, required=True)
@effort_option
@force_option
@packed_memory_option
@json_option
def command(
    out: Path, models: tuple[str, ...], effort: str, force: bool, memory_budget: int | None, as_json: bool
) -> None:
    """Put several models into one file, each under the name of its task.

    They share their values, so they must come from the same seed and prototypes: nets trained with the same mask
    options on different tasks do. `load` and `eval` then take --task NAME. Needs no torch.

    \b
    Example:
      pemn-compress bundle both.pemn day=day.pemn night=night.pemn
    """
    from pemn_formats.atomic import check_writable
    from pemn_formats.bundle import join
    from pemn_formats.writer import content_id, write

    paths = _parse(models)
    check_writable(out, force=force)
    bundle = join({name: content_of(path, memory_budget=memory_budget) for name, path in paths.items()})
    ledger = write(out, bundle, force=force, effort=effort)
    apart = {name: path.stat().st_size for name, path in paths.items()}
    if as_json:
        print_json(
            {
                "file": str(out),
                "content_id": content_id(bundle),
                "tasks": {name: {"file": str(path), "bytes": apart[name]} for name, path in paths.items()},
                "ledger": ledger.to_dict(),
            }
        )
        return
    total = sum(apart.values())
    print_table(
        [
            *([name, f"{apart[name]:,} B", str(path)] for name, path in paths.items()),
            ["bundle", f"{ledger.file_bytes:,} B", f"{out}, {percent(ledger.file_bytes / total)} of {total:,} B"],
        ],
        header=["task", "bytes", "file"],
        align="lrl",
    )


def _parse(models: Sequence[str]) -> dict[str, Path]:
    paths: dict[str, Path] = {}
    for model in models:
        name, equals, path = model.partition("=")
        if not equals or not name or not path:
            raise click.BadParameter(f"'{model}' is not NAME=FILE.pemn.", param_hint="'NAME=FILE.pemn...'")
        if name in paths:
            raise click.BadParameter(f"the task '{name}' is given twice.", param_hint="'NAME=FILE.pemn...'")
        paths[name] = Path(path)
    return paths
