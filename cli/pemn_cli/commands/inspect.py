"""`pemn-compress inspect`: what is in a file."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pemn_cli.opening import opened
from pemn_cli.options import json_option, model_argument, packed_memory_option
from pemn_cli.output import print_json, print_line, print_table, size

if TYPE_CHECKING:
    from pemn_formats.content import MaskedSpec, Prototype, ResidualSpec
    from pemn_formats.reader import Reader

__all__ = ["command"]


@click.command(name="inspect", short_help="Show what is in a file: tensors, prototypes, residual, codecs.")
@model_argument
@packed_memory_option
@json_option
def command(model: Path, memory_budget: int | None, as_json: bool) -> None:
    """Show what is in a .pemn file: architecture, input, seed, prototypes, masked tensors, residual, codecs.

    Every digest is checked on the way. Needs no torch.

    \b
    Example:
      pemn-compress inspect model.pemn
    """
    with opened(model, memory_budget=memory_budget) as reader:
        report = _report(model, reader)
    if as_json:
        print_json(report)
    else:
        _print(report)


def _report(path: Path, reader: Reader) -> dict[str, Any]:
    manifest, content_id = reader.manifest, reader.content_id()
    ones = reader.mask_ones()
    return {
        "file": str(path),
        "bytes": reader.prelude.file_bytes,
        "content_id": content_id,
        "architecture": manifest.architecture,
        "input": manifest.input,
        "tasks": {name: asdict(task) for name, task in manifest.tasks.items()},
        "delta": None if manifest.delta is None else {"base": manifest.delta.base, "result": manifest.delta.result},
        "seed": manifest.seed,
        "prototypes": [_prototype(each) for each in manifest.prototypes],
        "masked": [_masked(spec, ones[spec.name][0]) for spec in manifest.masked],
        "residual": [_residual(spec) for spec in manifest.residual],
        "aliases": dict(manifest.aliases),
        "chunks": reader.codecs(),
        "extra": dict(manifest.extra),
    }


def _prototype(prototype: Prototype) -> dict[str, Any]:
    return {"length": prototype.length, "source": prototype.source, "stored": not prototype.seeded}


def _masked(tensor: MaskedSpec, ones: int) -> dict[str, Any]:
    return {
        "name": tensor.name,
        "shape": list(tensor.shape),
        "alphabet": tensor.alphabet,
        "density": ones / tensor.numel,
        "prototype": tensor.prototype,
        "span": tensor.span,
        "scale": None if tensor.scale is None else float(tensor.scale),
    }


def _residual(spec: ResidualSpec) -> dict[str, Any]:
    return {"name": spec.name, "kind": spec.kind, "shape": list(spec.shape), "dtype": spec.dtype}


def _print(report: dict[str, Any]) -> None:
    print_table(
        [
            ["file", report["file"]],
            ["size", size(report["bytes"])],
            ["content", report["content_id"]],
            *_models(report),
            ["seed", str(report["seed"])],
            *([f"codecs, {section}", _counts(codecs)] for section, codecs in report["chunks"].items() if codecs),
            *([alias, f"is tied to {target}"] for alias, target in report["aliases"].items()),
            *([["extra", ", ".join(sorted(report["extra"]))]] if report["extra"] else []),
        ],
        align="l",
    )
    _print_values(report["prototypes"])
    _print_masked(report["masked"], "ones" if report["delta"] else "density")  # of a patch: the bits that change
    if report["residual"]:
        print_line()
        print_table(
            [[each["name"], each["kind"], each["dtype"], _shape(each["shape"])] for each in report["residual"]],
            header=["residual", "kind", "dtype", "shape"],
            align="lllr",
        )


def _print_values(prototypes: list[dict[str, Any]]) -> None:
    print_line()
    print_table(
        [
            [str(index), each["source"], f"{each['length']:,}", "in the file" if each["stored"] else "from the seed"]
            for index, each in enumerate(prototypes)
        ],
        header=["prototype", "source", "length", "values"],
        align="llrl",
    )


def _print_masked(masked: list[dict[str, Any]], density: str) -> None:
    print_line()
    print_table(
        [
            [
                each["name"], each["alphabet"], _shape(each["shape"]), f"{100 * each['density']:.2f} %",
                str(each["prototype"]), "shuffled" if each["span"] else "tiled",
                "per channel" if each["scale"] is None else f"{each['scale']:.6g}",
            ]
            for each in masked
        ],
        header=["masked tensor", "alphabet", "shape", density, "prototype", "fill", "scale"],
        align="llrrrlr",
    )  # fmt: skip


def _models(report: dict[str, Any]) -> list[list[str]]:
    """What the file holds: one model, one for each task, or the difference between two."""
    if report["delta"] is not None:
        return [["changes content", report["delta"]["base"]], ["into content", report["delta"]["result"]]]
    tasks = report["tasks"] or {"": report}
    return [
        [f"{what}, {task}" if task else what, shown(model[what])]
        for task, model in tasks.items()
        for what, shown in (("architecture", _architecture), ("input", _input))
    ]


def _architecture(architecture: dict[str, Any] | None) -> str:
    if architecture is None:
        return "not registered; pass the model when loading"
    arguments = ", ".join(f"{key}={value}" for key, value in sorted(architecture["args"].items()))
    return f"{architecture['name']}({arguments})"


def _input(description: dict[str, Any] | None) -> str:
    if description is None:
        return "not said"
    return ", ".join(f"{key} {_value(value)}" for key, value in sorted(description.items()))


def _value(value: object) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


def _shape(shape: list[int]) -> str:
    return "x".join(map(str, shape)) or "scalar"


def _counts(codecs: dict[str, int]) -> str:
    return ", ".join(f"{codec} in {count:,} chunk{'' if count == 1 else 's'}" for codec, count in codecs.items())
