"""What differs between two contents: masks by bits, residual by values, settings by name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pemn_formats.bits import hamming_distance
from pemn_formats.bundle import not_a_model
from pemn_formats.content import Content, MaskedTensor, Prototype, ResidualTensor
from pemn_formats.reconstruct import codes, float_values
from pemn_formats.writer import content_id

__all__ = ["Diff", "MaskDiff", "SettingDiff", "ValueDiff", "diff"]


@dataclass(frozen=True)
class MaskDiff:
    """How many of a masked tensor's codes differ; `keep` and `sign` have one bit for each."""

    name: str
    weights: int
    changed: int


@dataclass(frozen=True)
class ValueDiff:
    """How many of an entry's values differ, and by how much at most; None where that is no finite number."""

    name: str
    kind: str
    values: int
    changed: int
    largest: float | None


@dataclass(frozen=True)
class SettingDiff:
    """A setting that differs; None on a side that does not have it. `of` is a tensor's name, or empty."""

    of: str
    setting: str
    left: Any
    right: Any


@dataclass(frozen=True)
class Diff:
    """The differences of two contents, and how much was compared.

    `masks` and `values` hold every entry that both sides have in the same shape, those without a change too.
    """

    left: str
    right: str
    masks: tuple[MaskDiff, ...]
    values: tuple[ValueDiff, ...]
    settings: tuple[SettingDiff, ...]
    only_left: tuple[str, ...]
    only_right: tuple[str, ...]

    @property
    def equal(self) -> bool:
        """Whether the two content ids are equal; only `extra` settings can differ then."""
        return self.left == self.right

    def to_dict(self) -> dict[str, Any]:
        """Return the fields and the totals as JSON values."""
        return {
            **{key: value for key, value in asdict(self).items() if key not in ("left", "right")},
            "content_ids": [self.left, self.right],
            "equal": self.equal,
            "mask_weights": sum(each.weights for each in self.masks),
            "mask_changed": sum(each.changed for each in self.masks),
            "residual_values": sum(each.values for each in self.values),
            "residual_changed": sum(each.changed for each in self.values),
        }


def diff(left: Content, right: Content) -> Diff:
    """Return what differs. Bundles are compared task by task, by their full names.

    Raises `PemnError` for a patch.
    """
    for content in (left, right):
        if content.delta is not None:
            raise not_a_model(content.delta)
    masked = {each.name: each for each in left.masked}, {each.name: each for each in right.masked}
    valued = dict(_valued(left)), dict(_valued(right))
    settings = [*_differing("", _settings(left), _settings(right))]
    masks, values = [], []
    for name, one in masked[0].items():
        other = masked[1].get(name)
        if other is None:
            continue
        settings += _differing(name, _mask_settings(one), _mask_settings(other))
        if one.shape == other.shape and one.alphabet == other.alphabet:
            masks.append(MaskDiff(name, one.numel, _changed_codes(one, other)))
    for key, (entry, numbers) in valued[0].items():
        if key not in valued[1]:
            continue
        entry_too, numbers_too = valued[1][key]
        settings += _differing(key[1], _value_settings(entry), _value_settings(entry_too))
        if numbers.shape == numbers_too.shape:
            values.append(_compared(key, numbers, numbers_too))
    return Diff(
        left=content_id(left),
        right=content_id(right),
        masks=tuple(masks),
        values=tuple(values),
        settings=tuple(settings),
        only_left=_only(masked[0], masked[1]) + _only(valued[0], valued[1]),
        only_right=_only(masked[1], masked[0]) + _only(valued[1], valued[0]),
    )


def _only(names: Mapping[Any, Any], others: Mapping[Any, Any]) -> tuple[str, ...]:
    found = (key for key in names if key not in others)
    return tuple(key if isinstance(key, str) else f"{key[1]} ({key[0]})" for key in found)


Valued = tuple[Prototype | ResidualTensor, npt.NDArray[Any]]


def _valued(content: Content) -> Iterator[tuple[tuple[str, str], Valued]]:
    for index, prototype in enumerate(content.prototypes):
        if prototype.values is not None:
            yield ("prototype", f"prototype {index}"), (prototype, prototype.values)
    for entry in content.residual:
        yield (entry.kind, entry.name), (entry, _numbers(entry))


def _numbers(entry: ResidualTensor) -> npt.NDArray[Any]:
    """Values as numbers, in their own type where numpy has it."""
    exact = entry.values.dtype.kind == "f" or entry.dtype.startswith(("int", "uint", "bool"))
    return entry.values.reshape(entry.shape) if exact else float_values(entry)


def _changed_codes(left: MaskedTensor, right: MaskedTensor) -> int:
    if left.alphabet == "ternary":
        return int(np.count_nonzero(codes(left) != codes(right)))
    return hamming_distance(left.planes[0], right.planes[0])


def _compared(key: tuple[str, str], left: npt.NDArray[Any], right: npt.NDArray[Any]) -> ValueDiff:
    left, right = left.reshape(-1), right.reshape(-1)
    if left.dtype.kind == right.dtype.kind == "f":
        wide = left.astype(np.float64).view(np.uint64), right.astype(np.float64).view(np.uint64)
        changed = wide[0] != wide[1]  # so that -0 is not +0, and NaN is NaN
    else:
        changed = left != right
    with np.errstate(all="ignore"):
        apart = np.abs(left[changed].astype(np.float64) - right[changed].astype(np.float64))
    largest = float(apart.max()) if apart.size else 0.0
    return ValueDiff(key[1], key[0], left.size, apart.size, largest if np.isfinite(largest) else None)


def _differing(of: str, left: Mapping[str, Any], right: Mapping[str, Any]) -> Iterator[SettingDiff]:
    for key in dict.fromkeys((*left, *right)):
        if left.get(key) != right.get(key):
            yield SettingDiff(of, key, left.get(key), right.get(key))


def _settings(content: Content) -> dict[str, Any]:
    out: dict[str, Any] = {"seed": content.seed}
    out |= {f"prototype {i}": f"{each.length} {each.source}" for i, each in enumerate(content.prototypes)}
    out |= _network("", content.architecture, content.input)
    for task, settings in content.tasks.items():
        out |= _network(f"task {task}: ", settings.architecture, settings.input)
    out |= {f"alias {alias}": target for alias, target in content.aliases.items()}
    return out | {f"extra {key}": value for key, value in content.extra.items()}


def _network(where: str, architecture: Mapping[str, Any] | None, shown: Mapping[str, Any] | None) -> dict[str, Any]:
    out = {}
    if architecture is not None:
        out[f"{where}architecture"] = architecture["name"]
        out |= {f"{where}architecture {key}": value for key, value in architecture["args"].items()}
    return out | {f"{where}input {key}": value for key, value in (shown or {}).items()}


def _mask_settings(tensor: MaskedTensor) -> dict[str, Any]:
    return {
        "shape": list(tensor.shape),
        "alphabet": tensor.alphabet,
        "prototype": tensor.prototype,
        "span": tensor.span,
        "scale": None if tensor.scale is None else float(tensor.scale),
    }


def _value_settings(entry: Prototype | ResidualTensor) -> dict[str, Any]:
    if isinstance(entry, Prototype):
        return {}
    return {
        "shape": list(entry.shape),
        "dtype": entry.dtype,
        "eps": None if entry.eps is None else float(entry.eps),
    }
