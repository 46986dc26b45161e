"""`pemn-compress verify`: is the file whole, and what does it hold, to the bit?"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pemn_cli import exit_codes
from pemn_cli.failures import describe
from pemn_cli.opening import opened
from pemn_cli.options import json_option, models_argument
from pemn_cli.output import print_json, print_line, size, status

if TYPE_CHECKING:
    from pemn_formats.content import Content

__all__ = ["command"]


@click.command(name="verify", short_help="Check every digest and the structure of files.")
@models_argument
@click.option("--deep", is_flag=True, help="Also rebuild every tensor and print the SHA-256 of its bytes.")
@json_option
@click.pass_context
def command(ctx: click.Context, models: tuple[Path, ...], deep: bool, as_json: bool) -> None:
    """Check every digest and the structure of .pemn files.

    Decodes everything and prints OK for each file that is whole; a damaged one is an error line and exit code 3,
    after the other files were checked. --deep prints the SHA-256 of each rebuilt tensor (float32, little-endian),
    the same on every machine and device. Needs no torch.

    \b
    Example:
      pemn-compress verify model.pemn
    """
    reports: list[dict[str, object]] = []
    exit_code = exit_codes.OK
    for path in models:
        report, code = _report(path, deep=deep)
        exit_code = max(exit_code, code)
        reports.append(report)
        if not as_json:
            _print(report)
    if as_json:
        print_json({"files": reports})
    ctx.exit(exit_code)


def _report(path: Path, *, deep: bool) -> tuple[dict[str, object], int]:
    from pemn_formats.errors import PemnError

    try:
        with opened(path) as reader:
            content = reader.content()
            report: dict[str, object] = {
                "file": str(path),
                "ok": True,
                "bytes": reader.prelude.file_bytes,
                "content_id": reader.content_id(),
                "masked_tensors": len(content.masked),
                "residual_tensors": len(content.residual),
                "tasks": sorted(content.tasks),
                "delta_of": None if content.delta is None else content.delta.base,
            }
            if deep:
                report["tensors"] = _digests(content)
    except (PemnError, OSError) as error:
        code, line = describe(error)
        status(f"error: {line}")
        return {"file": str(path), "ok": False, "error": line}, code
    return report, exit_codes.OK


def _digests(content: Content) -> dict[str, str]:
    """Name to SHA-256 of every entry of the state dict, masked tensors as float32, little-endian."""
    from pemn_formats.bundle import in_task, not_a_model, parts
    from pemn_formats.reconstruct import state

    if content.delta is not None:
        raise not_a_model(content.delta)
    if content.tasks:
        return {
            in_task(task, name): digest
            for task, part in parts(content).items()
            for name, digest in _digests(part).items()
        }
    return {name: hashlib.sha256(values.tobytes()).hexdigest() for name, values in state(content).items()}


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
