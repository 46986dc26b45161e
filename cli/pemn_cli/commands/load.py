"""`pemn-compress load`: rebuild the dense weights of a file."""

from __future__ import annotations

import contextlib
import itertools
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

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

    from pemn_formats.content import Content

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
    from pemn_compress.loading import checked_device
    from pemn_formats.atomic import check_writable

    if to is not None:
        check_writable(to, force=force)
    place = checked_device(device)
    with about(model):
        content, state, times = _timed(model, task, place, dtype)
    distinct = {name: tensor for name, tensor in state.items() if name not in content.aliases}
    report: dict[str, Any] = {
        "file": str(model),
        "file_bytes": model.stat().st_size,
        "device": str(place),
        "dtype": dtype,
        "tensors": len(state),
        "masked_tensors": len(content.masked),
        "weights_bytes": sum(tensor.numel() * tensor.element_size() for tensor in distinct.values()),
        "seconds": {**times, "total": sum(times.values())},
        "written": None,
    }
    if to is not None:
        _write(state, to, aliases=set(content.aliases), force=force)
        report["written"] = {"file": str(to), "bytes": to.stat().st_size}
    if as_json:
        print_json(report)
    else:
        _print(report, residual=len(content.residual))


def _timed(
    model: Path, task: str | None, place: torch.device, dtype: str
) -> tuple[Content, dict[str, torch.Tensor], dict[str, float]]:
    """The content of a file, its dense state dict, and the seconds that each part took."""
    import torch

    from pemn_compress.loading import rebuild_state
    from pemn_formats.reader import Reader
    from pemn_formats.source import Source

    torch.zeros(1, device=place)  # starts CUDA, which is no part of loading
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
    parts = (after - before for before, after in itertools.pairwise(times))
    return content, state, dict(zip(("reading", "decoding", "rebuilding"), parts, strict=True))


def _print(report: dict[str, Any], *, residual: int) -> None:
    took, written = report["seconds"], report["written"]
    dense = f"{report['tensors']} tensors, {size(report['weights_bytes'])} {report['dtype']}"
    table = [
        ["reading", seconds(took["reading"]), size(report["file_bytes"])],
        ["decoding", seconds(took["decoding"]), f"{report['masked_tensors']} masked tensors, {residual} residual"],
        ["rebuilding", seconds(took["rebuilding"]), dense],
        ["total", seconds(took["total"]), f"on {report['device']}"],
    ]
    if written is not None:
        table.append(["written", "", f"{written['file']}, {size(written['bytes'])}"])
    print_table(table, align="lrl")


def _write(state: dict[str, torch.Tensor], path: Path, *, aliases: set[str], force: bool) -> None:
    from safetensors.torch import save

    from pemn_formats.atomic import atomic_write

    # safetensors refuses two names for one tensor, and a state dict needs both: tied weights are written twice.
    dense = {name: (value.clone() if name in aliases else value).cpu().contiguous() for name, value in state.items()}
    with atomic_write(path, force=force) as file:
        file.write(save(dense, metadata={"format": "pt"}))
