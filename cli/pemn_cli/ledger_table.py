"""The byte ledger as rows, as a JSON record and as a bar; one wording for every command that shows it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pemn_cli.failures import printable
from pemn_cli.output import ratio

if TYPE_CHECKING:
    from pemn_cli.plot import Bar
    from pemn_formats.ledger import Ledger

__all__ = ["DenseFile", "bar", "dense_file", "record", "rows", "short_rows"]

PARTS_OF_KIND = {"batch norm": "BatchNorm", "channel scales": "channel scales", "int8 layers": "int8 layers"}
"""Residual kind to its part of the bar; every other kind is `other residual`."""


@dataclass(frozen=True)
class DenseFile:
    """A dense checkpoint on disk."""

    path: Path
    bytes: int


def dense_file(path: Path) -> DenseFile:
    """The checkpoint that a person points at.

    Raises:
        PemnError: there is no such file.
    """
    from pemn_formats.errors import PemnError

    if not path.is_file():
        raise PemnError(f"--dense {path}: no such file; name a checkpoint such as model.safetensors or model.pt")
    return DenseFile(path, path.stat().st_size)


def rows(ledgers: Sequence[Ledger], dense: DenseFile | None = None) -> list[list[str]]:
    """The whole ledger: a label, then a cell for each file."""

    def row(label: str, cell: Callable[[Ledger], str]) -> list[str]:
        return [label, *map(cell, ledgers)]

    kinds = sorted({kind for ledger in ledgers for kind in ledger.residual_by_kind})
    table = [
        row("file", lambda each: _bytes(each.file_bytes)),
        row("  header", lambda each: _bytes(each.header)),
        row("    prelude", lambda each: _bytes(each.prelude)),
        row("    manifest", lambda each: _bytes(each.manifest)),
        row("    chunk table", lambda each: _bytes(each.chunk_table)),
        row("  prototypes", lambda each: _bytes(each.prototypes)),
        row("  masks", lambda each: _bytes(each.masks)),
        row("  residual", lambda each: _bytes(each.residual)),
        *(
            [f"    {kind}, uncompressed", *(_bytes(each.residual_by_kind.get(kind, 0)) for each in ledgers)]
            for kind in kinds
        ),
        [],
        row("masked weights", lambda each: f"{each.mask_weights:,}"),
        row("density", lambda each: _share(each.mask_ones, each.mask_weights)),
        row("bits per weight", lambda each: f"{each.bits_per_weight:.4f}"),
        row("distance to Shannon", lambda each: f"{100 * each.over_shannon:+.2f} %"),
        [],
        row("dense float32", lambda each: _bytes(each.dense_float32)),
        row("  over this file", lambda each: ratio(each.dense_float32, each.file_bytes)),
        row("dense float16", lambda each: _bytes(each.dense_float16)),
        row("  over this file", lambda each: ratio(each.dense_float16, each.file_bytes)),
    ]
    if dense is not None:
        table += [
            row(dense.path.name, lambda _: _bytes(dense.bytes)),
            row("  over this file", lambda each: ratio(dense.bytes, each.file_bytes)),
        ]
    return [
        *table,
        [],
        ["the paper's count"],
        row("  float prototype, 1 bit a weight", lambda each: _bytes(each.paper_bytes)),
        row("  32 bits a weight", lambda each: _bytes(each.paper_dense)),
        row("  ratio", lambda each: ratio(each.paper_dense, each.paper_bytes)),
        row("  reduction", lambda each: _share(each.paper_dense - each.paper_bytes, each.paper_dense)),
    ]


def short_rows(ledger: Ledger) -> list[list[str]]:
    """The parts of one file and what it is small against: a label, bytes, a remark."""
    masks = f"{ledger.bits_per_weight:.3f} bits a weight, {ledger.mask_weights:,} weights"
    return [
        ["header", _bytes(ledger.header), ""],
        ["prototypes", _bytes(ledger.prototypes), "values" if ledger.prototypes else "from the seed"],
        ["masks", _bytes(ledger.masks), masks],
        ["residual", _bytes(ledger.residual), ", ".join(sorted(ledger.residual_by_kind))],
        [
            "file",
            _bytes(ledger.file_bytes),
            f"dense float32 is {ratio(ledger.dense_float32, ledger.file_bytes)} as large",
        ],
    ]


def record(path: Path, ledger: Ledger, dense: DenseFile | None = None) -> dict[str, object]:
    """One file for `--json`."""
    extra: dict[str, object] = {}
    if dense is not None:
        extra["dense_file"] = {
            "file": str(dense.path),
            "bytes": dense.bytes,
            "ratio": dense.bytes / ledger.file_bytes,
        }
    return {"file": str(path), **ledger.to_dict(), **extra}


def bar(path: Path, ledger: Ledger) -> Bar:
    """The file's bar; its kinds of residual share the stored bytes in proportion to their bytes before compression."""
    from pemn_cli.plot import Bar

    parts = {"masks": ledger.masks, "prototype": ledger.prototypes, "header": ledger.header}
    total, seen, given = sum(ledger.residual_by_kind.values()), 0, 0
    for kind, count in sorted(ledger.residual_by_kind.items()):
        seen += count
        upto = ledger.residual * seen // total if total else 0
        part = PARTS_OF_KIND.get(kind, "other residual")
        parts[part] = parts.get(part, 0) + upto - given
        given = upto
    return Bar(printable(path.name), parts, ledger.dense_float32, ledger.dense_float16)


def _bytes(count: int) -> str:
    return f"{count:,} B"


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.2f} %" if whole else "-"
