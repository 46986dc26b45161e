"""`pemn-compress export`: from a training run to a `.pemn` file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from pemn_cli.byte_size import BYTES
from pemn_cli.options import (
    PATH,
    data_root_option,
    device_option,
    effort_option,
    force_option,
    json_option,
    output,
)
from pemn_cli.output import percent, print_json, print_line, print_table, status

if TYPE_CHECKING:
    from pemn_compress.export import ExportReport

__all__ = ["command"]


@click.command(name="export", short_help="Write a run to a .pemn file that is checked first.")
@click.argument("model", metavar="MODEL.pemn", type=output(".pemn", "name the file to write, and the run with --run"))
@click.option("--run", metavar="NAME|PATH", help="Which run.  [default: the newest]")
@click.option("--runs-dir", type=PATH, default=Path("runs"), show_default=True, help="Folder that holds the runs.")
@click.option(
    "--residual-dtype",
    type=click.Choice(["float16", "float32", "log8"]),
    help="Type of everything that is not masked; log8 takes a byte a value.  [default: as trained, float16, or in a "
    "budget as precise as fits]",
)
@click.option(
    "--budget", type=BYTES, metavar="SIZE", help="Most bytes of the file, such as 64KB.  [default: the run's]"
)
@click.option("--lossless", is_flag=True, help="Keep that as it is: no rounding, BatchNorm not folded.")
@click.option(
    "--store",
    type=click.Choice(["seed", "vector"]),
    help="Store the prototype as a seed or as values.  [default: as trained]",
)
@click.option(
    "--tolerance",
    default=0.25,
    show_default=True,
    metavar="X",
    type=click.FloatRange(min=0),
    help="Largest change of a logit by rounding, in standard deviations of the logits.",
)
@effort_option
@data_root_option
@device_option
@click.option("--no-eval", is_flag=True, help="Measure no accuracy, and the logits on synthetic images.")
@force_option
@json_option
def command(
    model: Path,
    run: str | None,
    runs_dir: Path,
    residual_dtype: str | None,
    budget: int | None,
    lossless: bool,
    store: str | None,
    tolerance: float,
    effort: str,
    data_root: Path | None,
    device: str,
    no_eval: bool,
    force: bool,
    as_json: bool,
) -> None:
    """Write the best epoch of a run to MODEL.pemn.

    The bytes are decoded again before the file appears: every masked weight must equal the trained one bit for bit,
    every other value the trained one rounded, and no logit may change by more than the tolerance. Accuracy before and
    after is measured on the test images, if they are at hand; nothing is downloaded for it.

    \b
    Examples:
      pemn-compress export model.pemn
      pemn-compress export small.pemn --run digits-mlp-rp-0 --residual-dtype log8
    """
    from pemn_compress.export import export_run
    from pemn_compress.loading import checked_device
    from pemn_compress.train.run import find_run, newest_run
    from pemn_formats.atomic import check_writable

    if lossless and residual_dtype is not None:
        raise click.UsageError("--residual-dtype rounds and --lossless rounds nothing; leave one of them out.")
    check_writable(model, force=force)
    place = checked_device(device)
    chosen = newest_run(runs_dir) if run is None else find_run(run, runs_dir)
    status(f"exporting the best epoch of {chosen.path}")
    if chosen.result is None:
        status(f"its training is not finished; go on with: pemn-compress train --resume {chosen.quoted}")
    report = export_run(
        chosen,
        model,
        residual_dtype=residual_dtype,
        lossless=lossless,
        store=store,
        effort=effort,
        budget=budget,
        data_root=data_root,
        evaluate_on_test=not no_eval,
        tolerance=tolerance,
        device=place,
        force=force,
    )
    if as_json:
        print_json(report.to_dict())
    else:
        _print(report)


def _dtypes(report: ExportReport) -> str:
    return ", ".join(f"{dtype} ({count})" for dtype, count in report.residual_dtypes.items()) or "nothing"


def _print(report: ExportReport) -> None:
    from pemn_cli.ledger_table import short_rows

    print_line(f"{report.path}")
    print_table(short_rows(report.ledger), align="lrl", indent=2)
    if report.budget is not None:
        used = percent(report.ledger.file_bytes / report.budget)
        print_line(f"budget: {used} of {report.budget:,} B, the residual as {_dtypes(report)}")
        if report.room > 0:
            reason = f"{report.unfilled}: " if report.unfilled else ""
            print_line(f"{reason}a net about {100 * report.room:.0f} % wider would fit the budget as well")
    if report.could_be_smaller:
        print_line("so large, the masks are stored to load fast; --effort smallest may take fewer bytes")
    equal = f"{report.masked_tensors} masked tensors bit for bit, {report.residual_entries} residual entries as rounded"
    print_line(f"loads back equal: {equal}")
    change = report.logits
    print_line(
        f"largest change of a logit: {change.relative:.2g} standard deviations, "
        f"{change.changed_predictions} of {change.count} predictions changed ({change.source})"
    )
    if report.before is None or report.after is None:
        print_line(f"accuracy not measured: {report.not_evaluated}")
        return
    images = f"on {report.after.count:,} test images"
    print_line(f"test accuracy: {report.before.accuracy:.2f} % before, {report.after.accuracy:.2f} % after, {images}")
