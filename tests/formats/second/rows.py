"""The manifest of one model by SPEC.md, section 3: what its JSON must hold."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from second.fields import (
    MAX_TENSORS,
    MAX_VALUES,
    NARROW,
    SEEDED,
    WIDTHS,
    Entry,
    Manifest,
    Masked,
    check_name,
    integer,
    keys,
)
from second.text import refuse_unless

TOP = {"aliases", "architecture", "input", "masked", "prototypes", "residual", "seed"}


def check_model(json: Any) -> Manifest:
    """Read the manifest; refuse what the specification refuses."""
    refuse_unless(isinstance(json, dict), "a manifest that is no object")
    keys(json, TOP, {"delta", "tasks", "x"})
    integer(json["seed"], 0, (1 << 64) - 1)
    sources, lengths = _columns(json["prototypes"], "sources", "lengths")
    masked = _masked(json["masked"])
    largest = max((tensor.numel for tensor in masked), default=0)
    for source, length in zip(sources, lengths, strict=True):
        refuse_unless(source in (*SEEDED, "float32", "float16"), "an unknown source")
        integer(length, 1, 1 + largest)
    for tensor in masked:
        integer(tensor.prototype, 0, len(sources) - 1)
        refuse_unless(tensor.span == 0 or tensor.numel <= tensor.span <= largest, "a span out of bounds")
    drawn = sum(lengths[tensor.prototype] for tensor in masked if tensor.span)
    refuse_unless(drawn <= max(1 << 34, 64 * sum(tensor.numel for tensor in masked)), "too many values to draw")
    refuse_unless({tensor.prototype for tensor in masked} == set(range(len(sources))), "an unused prototype")
    manifest = Manifest(json, tuple(zip(sources, lengths, strict=True)), masked, _residual(json["residual"]))
    _names(manifest)
    _settings(json["architecture"], json["input"])
    refuse_unless(_depth(json.get("x", {})) <= 16 and isinstance(json.get("x", {}), dict), "another x")
    return manifest


def _columns(value: Any, *names: str, short: tuple[str, ...] = ()) -> list[list[Any]]:
    keys(value, {*names, *short})
    refuse_unless(all(isinstance(value[name], list) for name in (*names, *short)), "a column that is no list")
    refuse_unless(len({len(value[name]) for name in names}) == 1, "columns of different lengths")
    refuse_unless(len(value[names[0]]) <= MAX_TENSORS, "too many entries")
    return [value[name] for name in (*names, *short)]


def _shape(value: Any, ndim: int, least: int) -> tuple[int, ...]:
    refuse_unless(isinstance(value, list) and ndim <= len(value) <= 8, "a wrong number of dimensions")
    for size in value:
        integer(size, least, MAX_VALUES)
    refuse_unless(math.prod(max(1, size) for size in value) <= MAX_VALUES, "too many values")
    return tuple(value)


def _taken(column: list[Any]) -> Callable[[], Any]:
    """Hand out a column that only some entries have."""
    left = list(reversed(column))

    def take() -> Any:
        refuse_unless(bool(left), "a column that is too short")
        return left.pop()

    return take


def _masked(value: Any) -> tuple[Masked, ...]:
    columns = ("names", "shapes", "prototypes", "spans", "alphabets", "scales")
    *rows, kept = _columns(value, *columns, short=("kept",))
    take, out = _taken(kept), []
    for name, shape, prototype, span, alphabet, scale in zip(*rows, strict=True):
        check_name(name)
        refuse_unless(alphabet in ("keep", "sign", "ternary"), "an unknown alphabet")
        integer(prototype, 0, MAX_TENSORS)
        integer(span, 0, MAX_VALUES)
        if scale is not None:
            integer(scale, 0, (1 << 32) - 1)
            refuse_unless(scale >> 23 & 255 != 255, "a scale that is not finite")
        tensor = Masked(name, _shape(shape, 1, 1), prototype, span, alphabet, scale, None)
        if alphabet == "ternary":
            tensor = replace(tensor, kept=take())
            integer(tensor.kept, 0, tensor.numel)
        out.append(tensor)
    refuse_unless(len(kept) == sum(tensor.kept is not None for tensor in out), "a column that is too long")
    return tuple(out)


def _residual(value: Any) -> tuple[Entry, ...]:
    *rows, eps = _columns(value, "names", "shapes", "kinds", "dtypes", short=("eps",))
    take, out = _taken(eps), []
    for name, shape, kind, dtype in zip(*rows, strict=True):
        refuse_unless(kind in ("dense", "bn", "int8", "scale"), "an unknown kind")
        if kind != "bn":
            check_name(name)
        elif name != "":
            refuse_unless(isinstance(name, str), "a bad name")
            check_name(f"{name}.num_batches_tracked")
        refuse_unless(dtype in ("log8", *WIDTHS), "an unknown dtype")
        least = int(kind == "int8")
        entry = Entry(name, _shape(shape, least, least), kind, dtype, take() if kind == "bn" else None)
        if kind == "bn":
            integer(entry.eps, 0, 0x3F800000 - 1)
            refuse_unless(len(entry.shape) == 2 and entry.shape[0] == 2, "a bn entry of another shape")
        if kind == "int8":
            refuse_unless(dtype == "int8", "an int8 entry of another dtype")
        if kind in ("bn", "scale"):
            refuse_unless(dtype in NARROW, "a bn or scale entry of another dtype")
        out.append(entry)
    refuse_unless(len(eps) == sum(entry.eps is not None for entry in out), "a column that is too long")
    return tuple(out)


def _names(manifest: Manifest) -> None:
    bundled = "tasks" in manifest.json
    stored = [tensor.name for tensor in manifest.masked]
    stored += [name for entry in manifest.residual for name in entry.states(bundled)]
    aliases = manifest.json["aliases"]
    refuse_unless(isinstance(aliases, dict) and len(aliases) <= MAX_TENSORS, "no or too many aliases")
    for name in aliases:
        check_name(name)
    refuse_unless(all(isinstance(of, str) for of in aliases.values()), "an alias of no name")
    known = set(stored)
    refuse_unless(len(known) == len(stored), "a state-dict name given twice")
    refuse_unless(known.isdisjoint(aliases) and known.issuperset(aliases.values()), "an alias of nothing")
    scales = [(entry.name, entry.shape) for entry in manifest.residual if entry.kind == "scale"]
    need = [(tensor.name, tensor.shape[:1]) for tensor in manifest.masked if tensor.scale is None]
    need += [(entry.name, entry.shape[:1]) for entry in manifest.residual if entry.kind == "int8"]
    refuse_unless(sorted(scales) == sorted(need), "scales that do not belong to their tensors")


def _settings(architecture: Any, given: Any) -> None:
    if architecture is not None:
        keys(architecture, {"args", "name"})
        check_name(architecture["name"])
        refuse_unless(isinstance(architecture["args"], dict), "arguments that are no object")
        refuse_unless(all(type(each) in (int, bool, str) for each in architecture["args"].values()), "an argument")
    if given is not None:
        refuse_unless(isinstance(given, dict), "an input that is no object")
        for value in given.values():
            flat = value if isinstance(value, list) else [value]
            refuse_unless(all(type(each) in (int, bool, str) for each in flat), "an input")


def _depth(value: Any) -> int:
    """How many objects and lists the deepest value lies in."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return max((1 + _depth(each) for each in inner), default=0)
