"""`pemn-compress load`: rebuild the dense weights of a file."""

from __future__ import annotations

import contextlib
import itertools
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pemn_cli.opening import about
from pemn_cli.options import (
    device_option,
    dtype_option,
    force_option,
    json_option,
    model_argument,
    output,
    task_option,
)
from pemn_cli.output import print_json, print_table, seconds, size

if TYPE_CHECKING:
    import torch

__all__ = ["command"]


@click.command(name="load", short_help="Rebuild the weights of a file; --to writes dense safetensors.")
@model_argument
@task_option
@device_option
@dtype_option
@click.option(
    "--to",
    type=output(".safetensors"),
    metavar="OUT.safetensors",
    help="Write the dense weights, by plain state-dict names.",
)
@force_option
@json_option
def command(
    model: Path, task: str | None, device: str, dtype: str, to: Path | None, force: bool, as_json: bool
) -> None:
    """Rebuild the dense weights of a .pemn file and say how long each part took.

    Reading is from the disk to memory, decoding checks every digest and unpacks the masks to bits, rebuilding makes
    the weights on the device. The same file gives the same bytes on every device.

    \b
    Examples:
      pemn-compress load model.pemn
      pemn-compress load model.pemn --device cuda --dtype float16 --to model.safetensors
    """
    import torch

    from pemn_compress.loading import checked_device, rebuild_state
    from pemn_formats.atomic import check_writable
    from pemn_formats.reader import Reader
    from pemn_formats.source import Source

    if to is not None:
        check_writable(to, force=force)
    place = checked_device(device)
    torch.zeros(1, device=place)  # starts CUDA, which is no part of loading
    with about(model):
        times = [time.perf_counter()]
        with contextlib.closing(Source(model)) as source:
            data = source.read(0, source.size)
        times.append(time.perf_counter())
        with Reader.open(data) as reader:
            content = reader.model(task)
        times.append(time.perf_counter())
        state = rebuild_state(content, device=place, dtype=getattr(torch, dtype))
        if place.type == "cuda":
            torch.cuda.synchronize(place)
        times.append(time.perf_counter())
    read, decoded, rebuilt = (after - before for before, after in itertools.pairwise(times))
    distinct = {name: tensor for name, tensor in state.items() if name not in content.aliases}
    report = {
        "file": str(model),
        "file_bytes": len(data),
        "device": str(place),
        "dtype": dtype,
        "tensors": len(state),
        "masked_tensors": len(content.masked),
        "weights_bytes": sum(tensor.numel() * tensor.element_size() for tensor in distinct.values()),
        "seconds": {"reading": read, "decoding": decoded, "rebuilding": rebuilt, "total": times[-1] - times[0]},
        "written": None,
    }
    if to is not None:
        _write(state, to, aliases=set(content.aliases), force=force)
        report["written"] = {"file": str(to), "bytes": to.stat().st_size}
    if as_json:
        print_json(report)
        return
    print_table(
        [
            ["reading", seconds(read), size(len(data))],
            ["decoding", seconds(decoded), f"{len(content.masked)} masked tensors, {len(content.residual)} residual"],
            [
                "rebuilding",
                seconds(rebuilt),
                f"{len(state)} tensors, {size(int(str(report['weights_bytes'])))} {dtype}",
            ],
            ["total", seconds(times[-1] - times[0]), f"on {place}"],
            *([["written", "", f"{to}, {size(to.stat().st_size)}"]] if to is not None else []),
        ],
        align="lrl",
    )


def _write(state: dict[str, torch.Tensor], path: Path, *, aliases: set[str], force: bool) -> None:
    from safetensors.torch import save

    from pemn_formats.atomic import atomic_write

    # safetensors refuses two names for one tensor, and a state dict needs both: tied weights are written twice.
    dense = {name: (value.clone() if name in aliases else value).cpu().contiguous() for name, value in state.items()}
    with atomic_write(path, force=force) as file:
        file.write(save(dense, metadata={"format": "pt"}))
