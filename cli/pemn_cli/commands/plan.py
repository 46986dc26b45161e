"""`pemn-compress plan`: the nets that fit a number of bytes, and what their files will take."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import click

from pemn_cli.byte_size import BYTES
from pemn_cli.options import json_option
from pemn_cli.output import percent, print_json, print_line, print_table, size
from pemn_cli.train_options import net_options
from pemn_cli.typed_options import checked_options, typed_options

if TYPE_CHECKING:
    from pemn_compress.data import DataSpec
    from pemn_compress.plan import Candidate, Measured

__all__ = ["command"]


@click.command(name="plan", short_help="Show the nets that fit a number of bytes, without training.")
@click.option(
    "--budget", type=BYTES, required=True, metavar="SIZE", help="Bytes of the file: 64KB, 64KiB, 0.5MB or 65536."
)
@click.option(
    "--family",
    type=click.Choice(["convmixer", "resnet", "vit", "mlp"]),
    default="convmixer",
    show_default=True,
    help="Which nets.",
)
@click.option("--data", default="cifar10", show_default=True, metavar="NAME", help="A named data set; nothing is read.")
@click.option("--classes", type=click.IntRange(1), metavar="N", help="Classes of other data.")
@click.option("--size", type=click.IntRange(1), metavar="N", help="Side of the images.  [default: the data set's]")
@click.option("--channels", type=click.IntRange(1), metavar="N", help="Channels of other images.  [default: 3]")
@net_options
@json_option
@click.pass_context
def command(
    ctx: click.Context,
    /,
    budget: int,
    family: str,
    data: str,
    classes: int | None,
    size: int | None,
    channels: int | None,
    as_json: bool,
    **_: Any,
) -> None:
    """Show the widest nets of a family whose files fit a budget, best first, without training or data.

    "at most" is the file with masks that no coder can shrink and everything else in a byte a value; what the budget
    leaves goes to its precision, and "can use" says how much of it that can fill. A net that "fits" cannot exceed the
    budget. One that is "steered" has masks that usually code smaller; training sees to it that they do. `train
    --budget` takes the first net, made wider or narrower where a trial on its images says so. Options of the net and
    its masks mean what they mean there.

    \b
    Examples:
      pemn-compress plan --budget 64KB
      pemn-compress plan --budget 12KB --family resnet --data cifar100
      pemn-compress plan --budget 32KiB --classes 4 --size 48 --patch 4
    """
    from pemn_compress.plan import candidates, measured_near
    from pemn_compress.train.run_config import RunConfig

    spec = _spec(data, classes, size, channels)
    chosen = {key: value for key, value in typed_options(ctx).items() if key not in ("data", "size", "budget")}
    with checked_options():
        options = RunConfig.from_options({**chosen, "model": family})
    found = candidates(budget, options, spec.to_input())
    known = measured_near(budget, spec.to_input())
    if as_json:
        print_json(
            {
                "budget": budget,
                "input": spec.to_input(),
                "candidates": [each.to_dict() for each in found],
                "measured": known and dataclasses.asdict(known),
            }
        )
    else:
        _print(budget, spec, found)
        _print_basis(budget, family, known)


def _spec(data: str, classes: int | None, size: int | None, channels: int | None) -> DataSpec:
    from pemn_compress.data.known import known_spec, stand_in
    from pemn_formats.errors import PemnError

    if classes is not None:
        if size is None:
            raise PemnError("--classes describes images of your own; give their --size too")
        return stand_in(classes, channels or 3, size)
    known = known_spec(data, side=size)
    if known is None:
        raise PemnError(f"what {data} holds is not known before it is read; give --classes and --size instead")
    if channels not in (None, known.channels):
        raise PemnError(f"{data} has {known.channels} channels, found --channels {channels}; leave it out")
    return known


def _print(budget: int, spec: DataSpec, found: list[Candidate]) -> None:
    shape = "x".join(map(str, (*spec.size, spec.channels)))
    print_line(f"{budget:,} B for {shape} images of {spec.classes} classes ({spec.name})")
    print_line()
    names = list(dict.fromkeys(name for each in found for name in each.model_args))
    stored = any(each.bytes.least.prototypes for each in found)
    header = [*names, "weights", "header", *["values"] * stored, "masks", "residual", "at most", "can use", ""]
    rows = []
    for each in found:
        parts = each.bytes.least
        values = [parts.prototypes] * stored
        rows.append(
            [
                *(str(each.model_args[name]) for name in names),
                f"{each.bytes.weights:,}",
                *(f"{count:,} B" for count in (parts.header, *values, parts.masks, parts.residual, parts.file)),
                percent(each.used, 1) if each.fits else "-",
                "fits" if each.sure else "steered" if each.fits else "too large",
            ]
        )
    print_table(rows, align="r", header=header)


def _print_basis(budget: int, family: str, known: Measured | None) -> None:
    """On what the order rests, and which net was measured near the budget."""
    print_line()
    measured = "measured at 12, 33 and 66 kB" if family == "resnet" else "a rule of thumb, not measured"
    print_line(f"the order of depths is {measured}; other families are not compared")
    if known is not None:
        how = f"train --preset {known.preset}, or train --budget {budget} {known.options}"
        print_line(f"measured near {size(known.budget)} on CIFAR-10: {known.shape} ({how})")
