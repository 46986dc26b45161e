"""The entries of an open file, each decoded and checked when it is asked for."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterator, Sequence
from typing import Any, TypeVar

from pemn_formats.bits import as_bytes
from pemn_formats.content import MaskedSpec, MaskedTensor, Prototype, ResidualSpec, ResidualTensor
from pemn_formats.entries import explicit_prototype, masked_tensor, residual_tensor
from pemn_formats.errors import PemnError
from pemn_formats.identity import identity
from pemn_formats.lattice import Lattice
from pemn_formats.manifest import Manifest, differences, to_json
from pemn_formats.mask_lattice import mask_lattice
from pemn_formats.names import shown
from pemn_formats.sections import SECTIONS, Section
from pemn_formats.walk import walk_masks, walk_residual

__all__ = ["Entries"]

Spec = TypeVar("Spec", Prototype, MaskedSpec, ResidualSpec)


class Entries:
    """What a manifest names, in the sections that hold it; only the chunks that an entry lies in are decoded."""

    def __init__(self, manifest: Manifest, found: Sequence[Section]) -> None:
        self.manifest = manifest
        self._sections = found
        self._prototypes, self._masks, self._residual = found
        self._masks.lattice = self._mask_lattice
        self._differences = differences(manifest)
        self._prototype_at = list(_placed(self.manifest.prototypes, lambda spec: spec.stored_bytes))
        self._masked_at = {
            spec.name: (spec, at) for spec, at in _placed(self.manifest.masked, lambda spec: spec.mask_bytes)
        }
        self._residual_at = {
            (spec.kind, spec.name): (spec, at)
            for spec, at in _placed(self.manifest.residual, lambda spec: spec.stored_bytes)
        }
        self._mask_starts = [at for _, at in self._masked_at.values()]
        self._held: dict[int, Prototype] = {}
        self._ones: dict[str, tuple[int, ...]] | None = None

    def masked(self, name: str) -> MaskedTensor:
        """Return one masked tensor, decoding only the chunks that hold it. Raises `PemnError` for an unknown name."""
        if name not in self._masked_at:
            raise PemnError(f"the file holds no masked tensor {shown(name)}")
        spec, at = self._masked_at[name]
        return self._as_masked(spec, self._masks.range(at, spec.mask_bytes))

    def residual(self, name: str, kind: str = "dense") -> ResidualTensor:
        """Return one residual entry, decoding only the chunks that hold it. Raises `PemnError` for an unknown name."""
        if (kind, name) not in self._residual_at:
            raise PemnError(f"the file holds no residual entry {shown(name)} of kind {kind}")
        spec, at = self._residual_at[kind, name]
        return self._as_residual(spec, self._residual.range(at, spec.stored_bytes))

    def prototypes(self) -> tuple[Prototype, ...]:
        """Return the prototypes, with the values of the explicit ones."""
        return tuple(self.prototype(index) for index in range(len(self._prototype_at)))

    def prototype(self, index: int) -> Prototype:
        """Return one prototype by its number, with its values if they are explicit."""
        spec, at = self._prototype_at[index]
        return self._as_prototype(index, self._prototypes.range(at, spec.stored_bytes))

    def prototypes_for(self, masked: Collection[MaskedSpec]) -> list[Prototype]:
        """Return the prototypes, with the values of those alone that some masked tensors take theirs from.

        They are kept until others are asked for. Two threads may both decode one.
        """
        held = self._held
        held = {index: held.get(index) or self.prototype(index) for index in {spec.prototype for spec in masked}}
        self._held = held
        out = list(self.manifest.prototypes)
        for index, each in held.items():
            out[index] = each
        return out

    def _mask_lattice(self, start: int, length: int) -> Lattice:
        if self.manifest.delta is not None:
            return mask_lattice(self.manifest, (), start, length)
        first, end = bisect_right(self._mask_starts, start) - 1, bisect_left(self._mask_starts, start + length)
        return mask_lattice(self.manifest, self.prototypes_for(self.manifest.masked[first:end]), start, length)

    def content_id(self) -> str:
        """Return the identity of the content (`pemn_formats.identity`), every entry decoded and checked in turn.

        Raises `FormatError` where `content` does: what is refused has no identity.
        """
        ones: dict[str, tuple[int, ...]] = {}
        found = identity(
            to_json(self.manifest, extra=False),
            (
                as_bytes(each.values)
                for each in map(self.prototype, range(len(self._prototype_at)))
                if each.values is not None
            ),
            walk_masks(self._masks, self._masked_at.values(), ones, unchecked=self._differences),
            walk_residual(self._residual, self._residual_at.values(), unchecked=self._differences),
        )
        self._ones = ones
        return found

    def mask_ones(self) -> dict[str, tuple[int, ...]]:
        """Return how many ones each bit plane of each masked tensor has, by its name; every mask checked on the way.

        Costs nothing after `content_id`, and holds no more than a chunk at a time.
        """
        if self._ones is None:
            ones: dict[str, tuple[int, ...]] = {}
            for _ in walk_masks(self._masks, self._masked_at.values(), ones, unchecked=self._differences):
                pass
            self._ones = ones
        return self._ones

    def codecs(self) -> dict[str, dict[str, int]]:
        """Return how many chunks of each section each codec wrote."""
        return {name: section.codecs() for name, section in zip(SECTIONS, self._sections, strict=True)}

    def _as_prototypes(self, stream: memoryview) -> tuple[Prototype, ...]:
        return tuple(
            self._as_prototype(index, stream[at : at + spec.stored_bytes])
            for index, (spec, at) in enumerate(self._prototype_at)
        )

    def _as_prototype(self, index: int, data: memoryview) -> Prototype:
        spec, _ = self._prototype_at[index]
        if spec.seeded:
            return spec
        return explicit_prototype(spec, index, data, checked=("prototype", index) not in self._differences)

    def _as_masked(self, spec: MaskedSpec, data: bytes | memoryview) -> MaskedTensor:
        return masked_tensor(spec, data, checked=("masked", spec.name) not in self._differences)

    def _as_residual(self, spec: ResidualSpec, data: bytes | memoryview) -> ResidualTensor:
        return residual_tensor(spec, data, checked=(spec.kind, spec.name) not in self._differences)


def _placed(specs: tuple[Spec, ...], length: Any) -> Iterator[tuple[Spec, int]]:
    at = 0
    for spec in specs:
        yield spec, at
        at += length(spec)
