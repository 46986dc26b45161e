"""The codecs of chunks, and the choice among them. A new one is a new file and a line in `CODECS`."""

from __future__ import annotations

from pemn_formats.codecs.base import Codec
from pemn_formats.codecs.const import Const
from pemn_formats.codecs.context import Context
from pemn_formats.codecs.gap import Gap, GapInverted
from pemn_formats.codecs.raw import Raw
from pemn_formats.codecs.zstd import FAST, Zstd
from pemn_formats.errors import FormatError, PemnError
from pemn_formats.lattice import Lattice

__all__ = [
    "CODECS",
    "EFFORTS",
    "MASK_CODECS",
    "MOST_BALANCED_BITS",
    "VALUE_CODECS",
    "Codec",
    "codec",
    "encode_smallest",
    "encoders",
    "too_large_to_predict",
]

CODECS: tuple[Codec, ...] = (Raw(), Const(), Zstd(), Gap(), GapInverted(), Context())
VALUE_CODECS = CODECS[:3]
MASK_CODECS = CODECS

EFFORTS = ("balanced", "fast", "smallest")

MOST_BALANCED_BITS = 1 << 23
"""Bits of a file's masks up to which `balanced` predicts them. Reading so many takes half a second or so of a core;
more of them would make a large file load far more slowly than a dense one."""

_ENCODERS: dict[str, tuple[Codec, ...]] = {
    "balanced": CODECS,
    "fast": (Raw(), Const(), Zstd(FAST), Gap(FAST), GapInverted(FAST)),
    "smallest": CODECS,
}


def encoders(effort: str, known: tuple[Codec, ...], *, mask_bits: int = 0) -> tuple[Codec, ...]:
    """Return what a writer tries of the codecs that a section knows; raise `PemnError` for an unknown effort.

    `smallest` tries all. `balanced` leaves the context coder, which takes long to read, out of a file with more than
    `MOST_BALANCED_BITS` of masks. `fast` leaves it out of every file, and the slow levels of Zstandard too.
    """
    if effort not in _ENCODERS:
        raise PemnError(f"unknown effort {effort!r}; known: {', '.join(EFFORTS)}")
    ids = {each.id for each in known}
    if effort == "balanced" and too_large_to_predict(mask_bits):
        ids.discard(Context.id)
    return tuple(each for each in _ENCODERS[effort] if each.id in ids)


def too_large_to_predict(mask_bits: int) -> bool:
    """Return whether `balanced` leaves the context coder out of a file with so many bits of masks."""
    return mask_bits > MOST_BALANCED_BITS


def codec(codec_id: int) -> Codec:
    """Return the codec with an id; raise `FormatError` for an unknown one."""
    if not 0 <= codec_id < len(CODECS):
        raise FormatError(f"unknown codec {codec_id}; this version knows 0 to {len(CODECS) - 1}")
    return CODECS[codec_id]


def encode_smallest(raw: bytes, candidates: tuple[Codec, ...], lattice: Lattice = ()) -> tuple[Codec, bytes]:
    """Return the codec with the shortest stored form, and that form; of equals, the one with the lowest id.

    The context coder, which decodes more slowly than the others, is taken only where it saves 1/256 of the bytes.
    """
    slow = 1 + 1 / 256
    written = [(each, stored) for each in candidates if (stored := each.encode(raw, lattice)) is not None]
    return min(written, key=lambda pair: len(pair[1]) * (slow if pair[0].name == "context" else 1))
