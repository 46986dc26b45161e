"""A model out of one pass over its file, its masked tensors handed on as soon as they are decoded."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from pemn_formats.content import Content, MaskedSpec, MaskedTensor, Prototype, ResidualSpec, ResidualTensor
from pemn_formats.errors import PemnError
from pemn_formats.handover import Handover, Ready
from pemn_formats.limits import CHUNK_BYTES
from pemn_formats.manifest import Manifest
from pemn_formats.sections import Section
from pemn_formats.streams import Progress, read_streams

__all__ = ["Parts", "read_once"]

_PROTOTYPES, _MASKS, _RESIDUAL = range(3)  # the numbers of the sections


@dataclass(frozen=True)
class Parts:
    """What to read of a file: a manifest, the place of each entry in its stream, and what makes it of its bytes."""

    manifest: Manifest
    masked: Sequence[tuple[MaskedSpec, int]]
    residual: Sequence[tuple[ResidualSpec, int]]
    as_prototypes: Callable[[memoryview], tuple[Prototype, ...]]
    as_masked: Callable[[MaskedSpec, memoryview], MaskedTensor]
    as_residual: Callable[[ResidualSpec, memoryview], ResidualTensor]

    def without_masks(self, streams: Sequence[memoryview]) -> Content:
        """Return everything but the masked tensors. Raises `FormatError` for values that break a rule."""
        manifest, stored = self.manifest, streams[_RESIDUAL]
        return Content(
            seed=manifest.seed,
            prototypes=self.as_prototypes(streams[_PROTOTYPES]),
            masked=(),
            residual=tuple(self.as_residual(spec, stored[at : at + spec.stored_bytes]) for spec, at in self.residual),
            architecture=manifest.architecture,
            input=manifest.input,
            aliases=manifest.aliases,
            extra=manifest.extra,
            tasks=manifest.tasks,
            delta=manifest.delta,
        )


def read_once(
    parts: Parts,
    sections: Sequence[Section],
    hash_stored: Callable[[bytes], None],
    *,
    threads: int = 1,
    progress: Progress | None = None,
    ready: Ready | None = None,
) -> tuple[Callable[[], Content], PemnError | None]:
    """Read all sections once, decoding the chunks that hold some of the parts.

    Return what gives the content, to be called once the payload's digest is known to be right, and the first error
    that decoding met. With `ready`, values and scales come before the masks, which become weights with them.
    """
    needed = {
        _MASKS: _chunks((at, spec.mask_bytes) for spec, at in parts.masked),
        _RESIDUAL: _chunks((at, spec.stored_bytes) for spec, at in parts.residual),
    }
    handover: Handover | None = None

    def arrived(number: int, streams: Sequence[memoryview], end: int) -> None:
        nonlocal handover
        if ready is not None and number == _MASKS:
            if handover is None:
                handover = Handover(ready, lambda: parts.without_masks(streams), parts.masked, parts.as_masked)
            handover(streams[_MASKS], end)

    streams, failure = read_streams(
        sections,
        hash_stored,
        threads=threads,
        progress=progress,
        order=None if ready is None else (_PROTOTYPES, _RESIDUAL, _MASKS),
        wanted=lambda number, placed: number == _PROTOTYPES or placed.start // CHUNK_BYTES in needed[number],
        arrived=arrived,
    )

    def content() -> Content:
        made, masks = {} if handover is None else handover.made, streams[_MASKS]
        masked = (
            made[spec.name] if spec.name in made else parts.as_masked(spec, masks[at : at + spec.mask_bytes])
            for spec, at in parts.masked
        )
        rest = parts.without_masks(streams)
        return replace(rest, masked=tuple(masked))

    return content, failure


def _chunks(ranges: Iterable[tuple[int, int]]) -> set[int]:
    """Return the numbers of the chunks that hold ranges (start, length) of a stream."""
    return {
        number
        for start, length in ranges
        for number in range(start // CHUNK_BYTES, -(-(start + length) // CHUNK_BYTES))
    }
