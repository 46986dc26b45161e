"""From untrusted JSON to a `Manifest`: every type, bound and cross-reference is checked here and nowhere else."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from pemn_formats import canonical_json
from pemn_formats.bundle import parts
from pemn_formats.content import (
    ALPHABETS,
    DTYPES,
    EXPLICIT_SOURCES,
    LOG8,
    RESIDUAL_KINDS,
    MaskedSpec,
    Prototype,
    ResidualSpec,
)
from pemn_formats.errors import FormatError
from pemn_formats.fields import check_depth, choice, column, float32, integer, json_list, json_object
from pemn_formats.limits import (
    MAX_DIMS,
    MAX_DRAWN_TIMES,
    MAX_DRAWN_VALUES,
    MAX_EXTRA_DEPTH,
    MAX_TENSOR_VALUES,
    MAX_TENSORS,
)
from pemn_formats.manifest import Manifest
from pemn_formats.names import check_name, shown
from pemn_formats.philox import SEED_LIMIT
from pemn_formats.settings_reader import read_aliases, read_architecture, read_delta, read_input, read_tasks
from pemn_formats.values import DISTRIBUTIONS

__all__ = ["check", "parse"]

_KEYS = ("aliases", "architecture", "input", "masked", "prototypes", "residual", "seed")
_OPTIONAL = ("delta", "tasks", "x")
_MASKED = ("alphabets", "kept", "names", "prototypes", "scales", "shapes", "spans")
_RESIDUAL = ("dtypes", "eps", "kinds", "names", "shapes")


def parse(raw: bytes) -> Manifest:
    """Return the manifest that canonical JSON describes; raise `FormatError` for anything else."""
    top = canonical_json.parse(raw)
    optional = {key: top.pop(key) for key in _OPTIONAL if key in top} if isinstance(top, dict) else {}
    json_object(top, _KEYS, "the manifest")
    extra = optional.get("x", {})
    json_object(extra, None, "'x'")
    check_depth(extra, MAX_EXTRA_DEPTH)
    manifest = Manifest(
        seed=integer(top["seed"], 0, SEED_LIMIT - 1, "the seed"),
        prototypes=_prototypes(top["prototypes"]),
        masked=_masked(top["masked"]),
        residual=_residual(top["residual"]),
        architecture=read_architecture(top["architecture"]),
        input=read_input(top["input"]),
        aliases=read_aliases(top["aliases"]),
        extra=extra,
        tasks=read_tasks(optional["tasks"]) if "tasks" in optional else {},
    )
    if "delta" in optional:
        stored = {"prototypes": manifest.prototypes, "masked": manifest.masked, "residual": manifest.residual}
        manifest = replace(manifest, delta=read_delta(optional["delta"], stored))
    check(manifest)
    return manifest


def check(manifest: Manifest) -> None:
    """Raise `FormatError` where the parts of a manifest contradict each other. Writers call it too.

    Each task of a bundle must be what a file of its own could hold.
    """
    if not manifest.tasks:
        _check_model(manifest)
        return
    for task, part in parts(manifest).items():
        try:
            _check_model(part)
        except FormatError as error:
            raise FormatError(f"in the task {shown(task)}, {error}") from None


def _check_model(manifest: Manifest) -> None:
    _check_prototypes(manifest)
    stored: set[str] = set()
    for name in [tensor.name for tensor in manifest.masked] + [n for e in manifest.residual for n in e.state_names]:
        if name in stored:
            raise FormatError(f"the tensor {shown(name)} is stored twice")
        stored.add(name)
    scales = {entry.name: entry.shape for entry in manifest.residual if entry.kind == "scale"}
    if len(scales) != sum(entry.kind == "scale" for entry in manifest.residual):
        raise FormatError("the channel scales of a tensor are stored twice")
    for tensor in manifest.masked:
        found = scales.pop(tensor.name, None)
        if (tensor.scale is None) != (found is not None):
            raise FormatError(f"{shown(tensor.name)} must have either one scale or stored channel scales")
        if found is not None and found != tensor.shape[:1]:
            raise FormatError(
                f"{shown(tensor.name)} has channel scales of shape {list(found)}, expected {[tensor.shape[0]]}"
            )
    for entry in manifest.residual:
        if entry.kind == "int8" and scales.pop(entry.name, None) != entry.shape[:1]:
            raise FormatError(f"{shown(entry.name)} is stored in 8 bits without channel scales {[entry.shape[0]]}")
    if scales:
        name = shown(next(iter(scales)))
        raise FormatError(f"channel scales are stored for {name}, which is no masked tensor and not in 8 bits")
    for alias, target in manifest.aliases.items():
        if alias in stored:
            raise FormatError(f"the alias {shown(alias)} is also a stored tensor")
        if target not in stored:
            raise FormatError(f"the alias {shown(alias)} names {shown(target)}, which is no stored tensor")


def _check_prototypes(manifest: Manifest) -> None:
    largest = max((tensor.numel for tensor in manifest.masked), default=0)
    used = set()
    for tensor in manifest.masked:
        if tensor.prototype >= len(manifest.prototypes):
            raise FormatError(f"{shown(tensor.name)} uses prototype {tensor.prototype} of {len(manifest.prototypes)}")
        if tensor.span and not tensor.numel <= tensor.span <= largest:
            raise FormatError(f"{shown(tensor.name)} has span {tensor.span}, expected {tensor.numel} to {largest}")
        used.add(tensor.prototype)
    drawn = sum(manifest.prototypes[tensor.prototype].length for tensor in manifest.masked if tensor.span)
    most = max(MAX_DRAWN_VALUES, MAX_DRAWN_TIMES * sum(tensor.numel for tensor in manifest.masked))
    if drawn > most:
        raise FormatError(f"tensors with a span draw {drawn:,} values of their prototypes in all; the most is {most:,}")
    for index, prototype in enumerate(manifest.prototypes):
        if index not in used:
            raise FormatError(f"prototype {index} is used by no tensor")
        if prototype.length > largest + 1:
            raise FormatError(f"prototype {index} has {prototype.length} values for tensors of at most {largest}")


def _prototypes(value: Any) -> tuple[Prototype, ...]:
    json_object(value, ("lengths", "sources"), "'prototypes'")
    sources = [
        choice(each, DISTRIBUTIONS + EXPLICIT_SOURCES, "a prototype source") for each in json_list(value, "sources")
    ]
    lengths = column(value, "lengths", len(sources), "prototypes")
    return tuple(
        Prototype(integer(length, 1, MAX_TENSOR_VALUES + 1, "a prototype length"), source)
        for length, source in zip(lengths, sources, strict=True)
    )


def _masked(value: Any) -> tuple[MaskedSpec, ...]:
    json_object(value, _MASKED, "'masked'")
    names = _names(value, "masked tensors")
    count = len(names)
    alphabets = [choice(each, ALPHABETS, "an alphabet") for each in column(value, "alphabets", count, "masked tensors")]
    shapes = [
        _shape(each, name, 1)
        for each, name in zip(column(value, "shapes", count, "masked tensors"), names, strict=True)
    ]
    kept = iter(column(value, "kept", alphabets.count("ternary"), "ternary tensors"))
    columns = (column(value, key, count, "masked tensors") for key in ("prototypes", "scales", "spans"))
    specs = []
    for name, alphabet, shape, prototype, scale, span in zip(names, alphabets, shapes, *columns, strict=True):
        numel = math.prod(shape)
        specs.append(
            MaskedSpec(
                name=check_name(name),
                shape=shape,
                prototype=integer(prototype, 0, MAX_TENSORS, f"the prototype of {shown(name)}"),
                span=integer(span, 0, MAX_TENSOR_VALUES, f"the span of {shown(name)}"),
                alphabet=alphabet,
                scale=None if scale is None else float32(scale, f"the scale of {shown(name)}"),
                kept=integer(next(kept), 0, numel, f"the kept count of {shown(name)}")
                if alphabet == "ternary"
                else None,
            )
        )
    return tuple(specs)


def _residual(value: Any) -> tuple[ResidualSpec, ...]:
    json_object(value, _RESIDUAL, "'residual'")
    names = _names(value, "residual tensors")
    count = len(names)
    kinds = [
        choice(each, RESIDUAL_KINDS, "a residual kind") for each in column(value, "kinds", count, "residual tensors")
    ]
    dtypes = [choice(each, (*DTYPES, LOG8), "a dtype") for each in column(value, "dtypes", count, "residual tensors")]
    eps = iter(column(value, "eps", kinds.count("bn"), "folded BatchNorms"))
    specs = []
    for name, kind, dtype, dims in zip(
        names, kinds, dtypes, column(value, "shapes", count, "residual tensors"), strict=True
    ):
        shape = _shape(dims, name, 1 if kind == "int8" else 0)
        if kind == "bn" and (len(shape) != 2 or shape[0] != 2):
            raise FormatError(f"the folded BatchNorm {shown(name)} has shape {list(shape)}, expected [2, channels]")
        if kind == "int8" and dtype != "int8":
            raise FormatError(f"{shown(name)} is stored in 8 bits, but holds {dtype}, expected int8")
        if kind in ("bn", "scale") and dtype not in ("float32", "float16", "bfloat16", LOG8):
            raise FormatError(f"{shown(name)} holds {dtype}, expected a floating type of at most 32 bits")
        spec = ResidualSpec(
            name=check_name(name, empty=kind == "bn"),
            shape=shape,
            kind=kind,
            dtype=dtype,
            eps=float32(next(eps), f"the eps of {shown(name)}") if kind == "bn" else None,
        )
        for state_name in spec.state_names:
            check_name(state_name)
        if spec.eps is not None and (not 0 <= spec.eps < 1 or np.signbit(spec.eps)):
            raise FormatError(f"the eps of {shown(name)} is {spec.eps}, expected at least 0 and below 1")
        specs.append(spec)
    return tuple(specs)


def _names(value: Mapping[str, Any], what: str) -> list[str]:
    names = json_list(value, "names")
    if len(names) > MAX_TENSORS:
        raise FormatError(f"the file holds {len(names)} {what}, at most {MAX_TENSORS} are allowed")
    for name in names:
        if not isinstance(name, str):
            raise FormatError(f"a name must be a string, found {type(name).__name__}")
    return names


def _shape(value: Any, name: str, fewest: int) -> tuple[int, ...]:
    """`fewest` 1 refuses scalars and empty tensors."""
    if not isinstance(value, list) or not fewest <= len(value) <= MAX_DIMS:
        raise FormatError(f"{shown(name)} must have {fewest} to {MAX_DIMS} dimensions")
    shape = tuple(integer(dim, fewest, MAX_TENSOR_VALUES, f"a dimension of {shown(name)}") for dim in value)
    # Dimensions beside an empty one still have to fit numpy's sizes.
    if math.prod(max(dim, 1) for dim in shape) > MAX_TENSOR_VALUES:
        raise FormatError(f"{shown(name)} has more than 2^40 values")
    return shape
