"""`pemn-compress load`: rebuild the dense weights of a file."""

from __future__ import annotations

import contextlib
import time
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pemn_cli.opening import about, opened
from pemn_cli.options import (
    device_option,
    dtype_option,
    force_option,
    json_option,
    memory_option,
    model_argument,
    output,
    task_option,
)
from pemn_cli.output import print_json, print_table, seconds, size

if TYPE_CHECKING:
    import torch

    from pemn_formats.content import Content
    from pemn_formats.manifest import Manifest

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
@memory_option
@json_option
def command(
    model: Path,
    task: str | None,
    device: str,
    dtype: str,
    to: Path | None,
    force: bool,
    memory_budget: int | None,
    as_json: bool,
) -> None:
    """Rebuild the dense weights of a .pemn file and say how long each part took.

    Reading is from the disk to memory, decoding checks every digest and unpacks the masks to bits, rebuilding makes
    the weights on the device. The same file gives the same bytes on every device. With --to, one tensor at a time is
    rebuilt and written, so that a file may hold more weights than memory does.

    \b
    Examples:
      pemn-compress load model.pemn
      pemn-compress load model.pemn --device cuda --dtype float16 --to model.safetensors
    """
    from pemn_compress.loading import checked_device
    from pemn_formats.atomic import check_writable
    from pemn_formats.dense import dense_bytes, dense_entries

    if to is not None:
        check_writable(to, force=force)
    place = checked_device(device)
    watch = _Watch()
    with about(model):
        held: Content | Manifest
        if to is None:
            held = _load(model, task, place, dtype, memory_budget, watch)
        else:
            held = _convert(model, task, place, dtype, memory_budget, watch, to, force=force)
    times = {part: watch.seconds[part] for part in ("reading", "decoding", "rebuilding")}
    report: dict[str, Any] = {
        "file": str(model),
        "file_bytes": model.stat().st_size,
        "device": str(place),
        "dtype": dtype,
        "tensors": len(dense_entries(held, dtype)),
        "masked_tensors": len(held.masked),
        "weights_bytes": dense_bytes(held, dtype),
        "seconds": {**times, "total": sum(times.values())},
        "written": None if to is None else {"file": str(to), "bytes": to.stat().st_size},
    }
    if as_json:
        print_json(report)
    else:
        _print(report, residual=len(held.residual))


class _Watch:
    """The seconds that each part took: called with a part's name when it is done."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self._last = time.perf_counter()

    def start(self) -> None:
        """Count from now on."""
        self._last = time.perf_counter()

    def __call__(self, part: str) -> None:
        now = time.perf_counter()
        self.seconds[part] += now - self._last
        self._last = now


def _load(
    model: Path, task: str | None, place: torch.device, dtype: str, memory_budget: int | None, watch: _Watch
) -> Content:
    """Make the dense state dict of a file; the content that it was made of is returned."""
    import torch

    from pemn_compress.loading import check_room_for_weights, rebuild_state
    from pemn_formats.limits import DEFAULT_MEMORY_BUDGET
    from pemn_formats.reader import Reader
    from pemn_formats.source import Source

    wanted: torch.dtype = getattr(torch, dtype)
    torch.zeros(1, device=place)  # starts CUDA, which is no part of loading
    watch.start()
    with contextlib.closing(Source(model)) as source:
        data = source.read(0, source.size)
    watch("reading")
    streams = DEFAULT_MEMORY_BUDGET if memory_budget is None else memory_budget
    with Reader.open(data, memory_budget=streams) as reader:
        check_room_for_weights(reader, task, device=place, dtype=wanted, memory_budget=memory_budget)
        content = reader.model(task)
    watch("decoding")
    rebuild_state(content, device=place, dtype=wanted)
    if place.type == "cuda":
        torch.cuda.synchronize(place)
    watch("rebuilding")
    return content


def _convert(
    model: Path,
    task: str | None,
    place: torch.device,
    dtype: str,
    memory_budget: int | None,
    watch: _Watch,
    to: Path,
    *,
    force: bool,
) -> Manifest:
    """Write the dense state dict tensor by tensor; the manifest of the model that was written is returned."""
    import torch

    from pemn_compress.dense_file import write_dense
    from pemn_formats.bundle import select_task

    torch.zeros(1, device=place)
    watch.start()
    with opened(model, memory_budget=memory_budget) as reader:
        watch("reading")
        write_dense(
            reader,
            to,
            task=task,
            device=place,
            dtype=getattr(torch, dtype),
            memory_budget=memory_budget,
            force=force,
            done=watch,
        )
        return select_task(reader.manifest, task)


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
