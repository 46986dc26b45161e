"""From a file to `Content`: the one check path that everything reads through."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from types import TracebackType
from typing import Any, TypeVar

import numpy as np

from pemn_formats import manifest_reader
from pemn_formats.bits import popcount
from pemn_formats.bundle import in_task, not_a_model, select_task
from pemn_formats.codecs.zstd import decompress
from pemn_formats.content import Content, MaskedSpec, MaskedTensor, Prototype, ResidualSpec, ResidualTensor
from pemn_formats.entries import masked_tensor, residual_tensor, stored_values
from pemn_formats.errors import FormatError, PemnError
from pemn_formats.identity import identity
from pemn_formats.lattice import Lattice
from pemn_formats.ledger import Ledger, ledger_of
from pemn_formats.limits import CHUNK_BYTES, DEFAULT_MEMORY_BUDGET
from pemn_formats.manifest import Manifest, differences, to_json
from pemn_formats.mask_lattice import mask_lattice
from pemn_formats.names import shown
from pemn_formats.prelude import CHUNK_ROW, DIGEST_BYTES, PRELUDE_BYTES, Chunk, Prelude
from pemn_formats.sections import SECTIONS, sections
from pemn_formats.source import Readable, Source

__all__ = ["Reader", "read", "read_model"]

Spec = TypeVar("Spec", MaskedSpec, ResidualSpec)


def read(origin: Readable, *, memory_budget: int = DEFAULT_MEMORY_BUDGET) -> Content:
    """Return the whole content of a `.pemn` file, file object or byte string, every digest checked.

    Raises `FormatError` for anything but a sound file, `PemnError` for one that cannot be opened.
    """
    with Reader.open(origin, memory_budget=memory_budget) as reader:
        return reader.content()


def read_model(origin: Readable, *, task: str | None = None, memory_budget: int = DEFAULT_MEMORY_BUDGET) -> Content:
    """Return the content of one model: that of a bundle's `task`, or the only one of a file. Errors as `read`.

    Raises `PemnError` also for a patch, and for a bundle where `task` names none of its models.
    """
    with Reader.open(origin, memory_budget=memory_budget) as reader:
        return reader.model(task)


class Reader:
    """An open `.pemn` file whose header has been checked; tensors are decoded when they are asked for.

    `masked` and `residual` decode only the chunks they need and check those chunks' CRC-32; `content` and
    `verify_payload` read everything and check the payload's SHA-256 as well.
    """

    def __init__(self, source: Source, memory_budget: int) -> None:
        self._source = source
        self.prelude = Prelude.unpack(source.read(0, min(PRELUDE_BYTES, source.size)), source.size)
        header = source.read(0, self.prelude.header_bytes)
        seal_at, table_at = PRELUDE_BYTES - DIGEST_BYTES, PRELUDE_BYTES + self.prelude.manifest_stored
        if hashlib.sha256(header[:seal_at] + header[PRELUDE_BYTES:]).digest() != header[seal_at:PRELUDE_BYTES]:
            source.check_unchanged()
            raise FormatError("the header is damaged: its SHA-256 differs")
        self.manifest: Manifest = manifest_reader.parse(_manifest_json(self.prelude, header[PRELUDE_BYTES:table_at]))
        needed = self.manifest.prototype_bytes + self.manifest.mask_bytes + self.manifest.residual_bytes
        if needed > memory_budget:
            raise FormatError(f"the file decodes to {needed} bytes, over the memory budget of {memory_budget}")
        rows = [Chunk(*row) for row in CHUNK_ROW.iter_unpack(header[table_at:])]
        self._differences = differences(self.manifest)
        self._sections = sections(self.prelude, self.manifest, rows, source)
        self._prototypes, self._masks, self._residual = self._sections
        self._masks.lattice = self._mask_lattice
        self._masked_at = {
            spec.name: (spec, at) for spec, at in _placed(self.manifest.masked, lambda spec: spec.mask_bytes)
        }
        self._residual_at = {
            (spec.kind, spec.name): (spec, at)
            for spec, at in _placed(self.manifest.residual, lambda spec: spec.stored_bytes)
        }

    @classmethod
    def open(cls, origin: Readable, *, memory_budget: int = DEFAULT_MEMORY_BUDGET) -> Reader:
        """Open a path, bytes, or a seekable binary file object and check its header.

        `memory_budget` bounds the decoded streams in bytes. Raises `FormatError` or `PemnError`.
        """
        source = Source(origin)
        try:
            return cls(source, memory_budget)
        except BaseException:
            source.close()
            raise

    def close(self) -> None:
        """Release the file."""
        self._source.close()

    def __enter__(self) -> Reader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def content(self) -> Content:
        """Return everything, decoded and checked."""
        self.verify_payload()
        masks, residual = self._masks.whole(), self._residual.whole()
        manifest = self.manifest
        return Content(
            seed=manifest.seed,
            prototypes=self.prototypes(),
            masked=tuple(
                self._as_masked(spec, masks[at : at + spec.mask_bytes]) for spec, at in self._masked_at.values()
            ),
            residual=tuple(
                self._as_residual(spec, residual[at : at + spec.stored_bytes])
                for spec, at in self._residual_at.values()
            ),
            architecture=manifest.architecture,
            input=manifest.input,
            aliases=manifest.aliases,
            extra=manifest.extra,
            tasks=manifest.tasks,
            delta=manifest.delta,
        )

    def model(self, task: str | None = None) -> Content:
        """Return one model, decoded and checked: that of a bundle's `task`, decoding its chunks only, or the file's.

        Raises `PemnError` as `pemn_formats.bundle.select_task` does.
        """
        part = select_task(self.manifest, task)
        if task is None:
            return self.content()
        self.verify_payload()
        return Content(
            seed=part.seed,
            prototypes=self.prototypes(),
            masked=tuple(replace(self.masked(in_task(task, spec.name)), name=spec.name) for spec in part.masked),
            residual=tuple(
                replace(self.residual(in_task(task, spec.name), spec.kind), name=spec.name) for spec in part.residual
            ),
            architecture=part.architecture,
            input=part.input,
            aliases=part.aliases,
            extra=part.extra,
        )

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
        out, at = [], 0
        for index, each in enumerate(self.manifest.prototypes):
            if each.seeded:
                out.append(each)
                continue
            values = stored_values(self._prototypes.range(at, each.stored_bytes), each.source, f"prototype {index}")
            if ("prototype", index) not in self._differences and not np.isfinite(values).all():
                raise FormatError(f"prototype {index} holds values that are not finite")
            out.append(Prototype(each.length, each.source, values))
            at += each.stored_bytes
        return tuple(out)

    def _mask_lattice(self, start: int, length: int) -> Lattice:
        if self.manifest.delta is not None:
            return mask_lattice(self.manifest, (), start, length)
        return mask_lattice(self.manifest, self.prototypes(), start, length)

    def verify_payload(self) -> None:
        """Check the SHA-256 over all sections; raise `FormatError` naming the damaged part if it differs."""
        digest = hashlib.sha256()
        for at in range(self.prelude.header_bytes, self.prelude.file_bytes, CHUNK_BYTES):
            digest.update(self._source.read(at, min(CHUNK_BYTES, self.prelude.file_bytes - at)))
        if digest.digest() != self.prelude.payload_sha256:
            self._source.check_unchanged()
            for section in self._sections:
                section.check_stored()
            raise FormatError("the payload is damaged: its SHA-256 differs")

    def content_id(self) -> str:
        """Return the identity of the content (`pemn_formats.identity`), decoding everything chunk by chunk."""
        return identity(to_json(self.manifest, extra=False), *(section.chunks() for section in self._sections))

    def codecs(self) -> dict[str, dict[str, int]]:
        """Return how many chunks of each section each codec wrote."""
        return {name: section.codecs() for name, section in zip(SECTIONS, self._sections, strict=True)}

    def ledger(self) -> Ledger:
        """Return where every byte of the file goes. Raises `PemnError` for a patch: its bytes are no model's."""
        if self.manifest.delta is not None:
            raise not_a_model(self.manifest.delta)
        ones = [tuple(map(popcount, self.masked(spec.name).planes)) for spec in self.manifest.masked]
        return ledger_of(self.prelude, self.manifest, ones)

    def _as_masked(self, spec: MaskedSpec, data: bytes | memoryview) -> MaskedTensor:
        return masked_tensor(spec, data, checked=("masked", spec.name) not in self._differences)

    def _as_residual(self, spec: ResidualSpec, data: bytes | memoryview) -> ResidualTensor:
        return residual_tensor(spec, data, checked=(spec.kind, spec.name) not in self._differences)


def _placed(specs: tuple[Spec, ...], length: Any) -> Iterator[tuple[Spec, int]]:
    at = 0
    for spec in specs:
        yield spec, at
        at += length(spec)


def _manifest_json(prelude: Prelude, stored: bytes) -> bytes:
    """A manifest as long as its JSON is not compressed."""
    if prelude.manifest_stored == prelude.manifest_raw:
        return stored
    try:
        return decompress(stored, prelude.manifest_raw)
    except FormatError as error:
        raise FormatError(f"the manifest: {error}") from None
