"""How a model is masked, as data: what `mask_` takes and what a training run remembers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from pemn_compress.learners import LEARNERS
from pemn_formats.content import ALPHABETS
from pemn_formats.errors import PemnError
from pemn_formats.philox import check_seed
from pemn_formats.values import DISTRIBUTIONS

__all__ = ["DEFAULT_VALUES", "MODES", "SCALES", "STORES", "STRATEGIES", "MaskConfig"]

STRATEGIES = ("full", "one-layer", "mp", "rp")
MODES = ("copy", "rand")
SCALES = ("none", "tensor", "channel")
STORES = ("seed", "vector")

# About 100 values lose no accuracy, fewer do. A prime length keeps the rows of a tensor from repeating.
DEFAULT_VALUES = 251
_MAX_VALUES = 1 << 32


@dataclass(frozen=True, kw_only=True)
class MaskConfig:
    """Options of `mask_`; every wrong value or combination raises `PemnError`.

    strategy: `full` (each tensor its own values), `one-layer` (tensors of equal shape share), `mp` (all share the
        values of the largest tensor), `rp` (all are filled from one short vector).
    ratio, values: the length of the `rp` vector, as a part of the largest tensor in (0, 1] or as a number of values;
        neither means 251 values. No vector is longer than the largest tensor needs.
    mode: `rp` either tiles its vector (`copy`) or tiles and shuffles it once (`rand`).
    distribution: `signed` (+1 or -1), `uniform` or `normal` values.
    scale: `none` (the scale of the tensor that the values were drawn for, as in the paper), `tensor` (Kaiming's
        standard deviation for each tensor) or `channel` (learned, one per index of dimension 0).
    alphabet: a code keeps or hides a value (`keep`), keeps or negates it (`sign`), or does all three (`ternary`).
    learner: `threshold` (score > 0, free density), `topk` (the paper's edge-popup, fixed density of each tensor) or
        `topk-global` (fixed density of the whole model, each tensor finds its own).
    density: fraction of codes that are not 0, in (0, 1): fixed for `topk` and `topk-global`, the start of ternary masks
        for `threshold`.
    seed: of the values and of the initial scores, an unsigned 64-bit integer.
    store: what a saved file carries of the values, their `seed` or the `vector`.
    learn_values: train the values of `one-layer`, `mp` or a tiled `rp` vector together with the masks; a file then
        always carries the vector.
    int8_layers: layers that stay dense, and are stored in 8 bits with a scale per output channel: module paths, or
        `first` and `last`.

    >>> MaskConfig(strategy="rp", ratio=1e-3, seed=7).values is None
    True
    """

    strategy: str = "full"
    ratio: float | None = None
    values: int | None = None
    mode: str = "copy"
    distribution: str = "signed"
    scale: str = "tensor"
    alphabet: str = "keep"
    learner: str = "threshold"
    density: float = 0.5
    seed: int = 0
    store: str = "seed"
    learn_values: bool = False
    int8_layers: Sequence[str] = ()

    def __post_init__(self) -> None:
        for field, known in _CHOICES.items():
            _check_choice(field, getattr(self, field), known)
        self._check_vector()
        density = self.density
        if not _is_number(density) or not 0.0 < density < 1.0:
            raise PemnError(f"density must lie between 0 and 1, both excluded, found {density!r}")
        check_seed(self.seed)
        names = self.int8_layers
        if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
            raise PemnError(f"int8_layers must be a list of names of layers, such as 'first', found {names!r}")
        object.__setattr__(self, "int8_layers", tuple(names))
        LEARNERS[self.learner].check(self.alphabet, density)
        self._check_learned_values()

    def _check_vector(self) -> None:
        if self.strategy != "rp":
            for field, default in (("ratio", None), ("values", None), ("mode", "copy")):
                if getattr(self, field) != default:
                    raise PemnError(f"{field} belongs to strategy 'rp', found it with strategy {self.strategy!r}")
            return
        if self.ratio is not None and self.values is not None:
            raise PemnError(f"give ratio or values, not both; found ratio {self.ratio} and values {self.values}")
        if self.ratio is not None and (not _is_number(self.ratio) or not 0.0 < self.ratio <= 1.0):
            raise PemnError(f"ratio must be greater than 0 and at most 1, found {self.ratio!r}")
        values = self.values
        if values is not None and (type(values) is not int or not 1 <= values <= _MAX_VALUES):
            raise PemnError(f"values must be an integer from 1 to {_MAX_VALUES}, found {values!r}")

    def _check_learned_values(self) -> None:
        if not isinstance(self.learn_values, bool):
            raise PemnError(f"learn_values must be true or false, found {self.learn_values!r}")
        if not self.learn_values:
            return
        if self.strategy == "full":
            raise PemnError(
                "learn_values with strategy 'full' would train a dense network; take 'rp', 'mp' or 'one-layer'"
            )
        if self.mode == "rand":
            raise PemnError("learn_values works on values that are tiled, found mode 'rand'; take mode 'copy'")
        object.__setattr__(self, "store", "vector")

    def vector_length(self, largest: int) -> int:
        """Return the length of the `rp` vector of a model whose largest masked tensor has `largest` weights.

        A ratio r gives int(largest * r) + 1, in Python's double arithmetic; otherwise `values`, or 251, or as many as
        the tensor has if it has fewer: what no tensor reaches has no place in a file.
        """
        if self.ratio is not None:
            return int(largest * self.ratio) + 1
        return min(DEFAULT_VALUES if self.values is None else self.values, largest)

    def to_dict(self) -> dict[str, Any]:
        """Return the options as JSON-ready data."""
        return asdict(self)

    @classmethod
    def from_dict(cls, options: Mapping[str, Any]) -> MaskConfig:
        """Return the configuration that `to_dict` gave; an unknown option raises `PemnError`."""
        known = {field.name for field in fields(cls)}
        unknown = sorted(set(options) - known)
        if unknown:
            raise PemnError(f"unknown mask option {unknown[0]!r}; known: {', '.join(sorted(known))}")
        return cls(**options)


_CHOICES = {
    "strategy": STRATEGIES,
    "mode": MODES,
    "distribution": DISTRIBUTIONS,
    "scale": SCALES,
    "alphabet": ALPHABETS,
    "learner": tuple(LEARNERS),
    "store": STORES,
}


def _check_choice(field: str, found: object, known: tuple[str, ...]) -> None:
    if found not in known:
        raise PemnError(f"unknown {field} {found!r}; known: {', '.join(known)}")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
