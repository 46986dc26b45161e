"""The bytes of a file without writing it: the most that any masks and values can take, and those of given values."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from pemn_formats.codecs import VALUE_CODECS, encode_smallest, encoders
from pemn_formats.codecs.zstd import compress
from pemn_formats.content import DTYPES, Content
from pemn_formats.limits import CHUNK_BYTES
from pemn_formats.manifest import Manifest, manifest_of, to_json
from pemn_formats.pieces import residual_pieces
from pemn_formats.prelude import CHUNK_ROW, PRELUDE_BYTES, chunk_lengths

__all__ = ["Foreseen", "header_bytes", "most_bytes", "most_mask_bytes", "residual_stored"]


@dataclass(frozen=True)
class Foreseen:
    """Bytes of the parts of a file that is not written yet."""

    header: int
    prototypes: int
    masks: int
    residual: int

    @property
    def file(self) -> int:
        """Bytes of the whole file."""
        return self.header + self.prototypes + self.masks + self.residual


def most_bytes(content: Content, *, varying: bool = True) -> Foreseen:
    """Return the most bytes that a file can take whose content differs from this one in its bits and values alone.

    Every chunk can be stored as it stands, so that its own bytes are the most; the header depends on no bit. It is what
    masks without structure take. Two things may vary beside bits and values, and count at their most: the number of
    weights that a `ternary` mask keeps, and whether the scales of `int8` layers need float32. With `varying` False
    these count as they are in this content.
    """
    manifest = manifest_of(content)
    in_int8 = {entry.name for entry in content.residual if entry.kind == "int8" and varying}
    wider = DTYPES["float32"].itemsize
    residual = sum(
        entry.numel * wider if entry.kind == "scale" and entry.name in in_int8 else entry.stored_bytes
        for entry in manifest.residual
    )
    masks = _most_of(manifest)
    return Foreseen(
        header=header_bytes(manifest, mask_bytes=masks) + (_SLACK if varying and _may_vary(manifest, in_int8) else 0),
        prototypes=manifest.prototype_bytes,
        masks=masks,
        residual=residual,
    )


def most_mask_bytes(content: Content) -> int:
    """Return the masks' part of `most_bytes`, without working out the header."""
    return _most_of(manifest_of(content))


def _most_of(manifest: Manifest) -> int:
    return sum(len(tensor.plane_bits) * ((tensor.numel + 7) // 8) for tensor in manifest.masked)


def header_bytes(manifest: Manifest, *, mask_bytes: int | None = None) -> int:
    """Return the bytes before the first section: prelude, manifest, chunk table."""
    raw = to_json(manifest)
    masks = manifest.mask_bytes if mask_bytes is None else mask_bytes
    chunks = sum(len(chunk_lengths(stream)) for stream in (manifest.prototype_bytes, masks, manifest.residual_bytes))
    return PRELUDE_BYTES + min(len(compress(raw)), len(raw)) + chunks * CHUNK_ROW.size


def residual_stored(content: Content, *, effort: str = "balanced") -> int:
    """Return the bytes that the residual of a content takes in a file written with that effort."""
    tried = encoders(effort, VALUE_CODECS)
    return sum(len(encode_smallest(chunk, tried)[1]) for chunk in _chunks(residual_pieces(content)))


_SLACK = 64  # what a few other numbers and words in a manifest can add once it is compressed


def _may_vary(manifest: Manifest, in_int8: set[str]) -> bool:
    return bool(in_int8) or any(tensor.kept is not None for tensor in manifest.masked)


def _chunks(pieces: Iterable[bytes | memoryview]) -> list[bytes]:
    stream = b"".join(pieces)
    return [stream[at : at + CHUNK_BYTES] for at in range(0, len(stream), CHUNK_BYTES)]
