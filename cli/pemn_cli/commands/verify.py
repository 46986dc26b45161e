"""`pemn-compress verify`: is the file whole, and what does it hold, to the bit?"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pemn_cli import exit_codes
from pemn_cli.failures import describe
from pemn_cli.opening import opened
from pemn_cli.options import json_option, memory_option, models_argument
from pemn_cli.output import print_json, print_line, size, status

if TYPE_CHECKING:
    from pemn_formats.reader import Reader

__all__ = ["command"]


@click.command(name="verify", short_help="Check every digest and the structure of files.")
@models_argument
@click.option("--deep", is_flag=True, help="Also rebuild every tensor and print the SHA-256 of its bytes.")
@memory_option
@json_option
@click.pass_context
def command(ctx: click.Context, models: tuple[Path, ...], deep: bool, memory_budget: int | None, as_json: bool) -> None:
    """Check every digest and the structure of .pemn files.

    Decodes everything and prints OK for each file that is whole; a damaged one is an error line and exit code 3,
    after the other files were checked. --deep prints the SHA-256 of each rebuilt tensor (float32, little-endian),
    the same on every machine and device; one tensor is in memory at a time. A patch has no tensors before it is
    applied. Needs no torch.

    \b
    Example:
      pemn-compress verify model.pemn
    """
    reports: list[dict[str, object]] = []
    exit_code = exit_codes.OK
    for path in models:
        report, code = _report(path, deep=deep, memory_budget=memory_budget)
        exit_code = max(exit_code, code)
        reports.append(report)
        if not as_json:
            _print(report)
    if as_json:
        print_json({"files": reports})
    ctx.exit(exit_code)


def _report(path: Path, *, deep: bool, memory_budget: int | None) -> tuple[dict[str, object], int]:
    from pemn_formats.errors import PemnError

    try:
        with opened(path, memory_budget=memory_budget) as reader:
            manifest = reader.manifest
            report: dict[str, object] = {
                "file": str(path),
                "ok": True,
                "bytes": reader.prelude.file_bytes,
                "content_id": reader.content_id(),
                "masked_tensors": len(manifest.masked),
                "residual_tensors": len(manifest.residual),
                "tasks": sorted(manifest.tasks),
                "delta_of": None if manifest.delta is None else manifest.delta.base,
            }
            if deep and manifest.delta is not None:
                status(f"{path} holds differences; apply it to its base, and verify --deep the result, for its tensors")
            elif deep:
                report["tensors"] = _digests(reader, memory_budget)
    except (PemnError, OSError) as error:
        code, line = describe(error)
        status(f"error: {line}")
        return {"file": str(path), "ok": False, "error": line}, code
    return report, exit_codes.OK


def _digests(reader: Reader, memory_budget: int | None) -> dict[str, str]:
    """Name to SHA-256 of every entry of the state dict, masked tensors as float32, little-endian."""
    from pemn_formats.bundle import in_task, parts
    from pemn_formats.dense import check_memory, largest_entry

    manifest = reader.manifest
    check_memory(largest_entry(manifest), memory_budget, "its largest tensor, packed and in float32,")
    if not manifest.tasks:
        return _model_digests(reader, None, manifest.aliases)
    return {
        in_task(task, name): digest
        for task, part in parts(manifest).items()
        for name, digest in _model_digests(reader, task, part.aliases).items()
    }


def _model_digests(reader: Reader, task: str | None, aliases: Mapping[str, str]) -> dict[str, str]:
    import numpy as np

    from pemn_formats.bits import as_bytes
    from pemn_formats.expand import expand_into
    from pemn_formats.in_turn import in_turn
    from pemn_formats.reconstruct import residual_state

    out = {}
    for piece in in_turn(reader, task):
        for tensor in piece.masked:
            weights = np.empty(tensor.shape, np.dtype("<f4"))
            expand_into(piece, [(tensor, weights)])
            out[tensor.name] = hashlib.sha256(as_bytes(weights)).hexdigest()
            del weights
        out |= {name: hashlib.sha256(as_bytes(each)).hexdigest() for name, each in residual_state(piece).items()}
    return out | {alias: out[target] for alias, target in aliases.items()}


def _print(report: dict[str, object]) -> None:
    if not report["ok"]:
        return
    kind = ""
    if isinstance(tasks := report["tasks"], list) and tasks:
        kind = f" tasks {', '.join(tasks)},"
    if report["delta_of"] is not None:
        kind = f" delta of content {report['delta_of']},"
    count = size(int(str(report["bytes"])))
    print_line(
        f"OK  {report['file']}  {count},{kind} {report['masked_tensors']} masked and {report['residual_tensors']}"
        f" residual tensors, content {report['content_id']}"
    )
    tensors = report.get("tensors")
    if isinstance(tensors, dict):
        for name, digest in tensors.items():
            print_line(f"{digest}  {name}")
