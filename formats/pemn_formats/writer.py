"""From `Content` to the bytes of a file, chunk by chunk."""

from __future__ import annotations

import hashlib
import io
import os
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import BinaryIO

from pemn_formats.atomic import atomic_write
from pemn_formats.bits import popcount
from pemn_formats.bundle import not_a_model
from pemn_formats.codecs import MASK_CODECS, VALUE_CODECS, Codec, encode_smallest, encoders
from pemn_formats.codecs.zstd import compress
from pemn_formats.content import Content
from pemn_formats.errors import FormatError, PemnError
from pemn_formats.identity import identity
from pemn_formats.ledger import Ledger, ledger_of
from pemn_formats.limits import CHUNK_BYTES
from pemn_formats.manifest import Manifest, manifest_of, to_json
from pemn_formats.manifest_reader import parse
from pemn_formats.mask_lattice import mask_lattice
from pemn_formats.pieces import mask_pieces, prototype_pieces, residual_pieces
from pemn_formats.prelude import CHUNK_ROW, PRELUDE_BYTES, Chunk, Prelude, chunk_lengths

__all__ = ["content_id", "encode", "write"]

Coded = tuple[Chunk, bytes]
Codecs = tuple[Codec, ...]


def write(
    path: str | os.PathLike[str], content: Content, *, force: bool = False, threads: int = 1, effort: str = "balanced"
) -> Ledger:
    """Write a content to a `.pemn` file, whole or not at all, and return its ledger.

    Beside the content, no more than a few chunks for each of the `threads` that encode are held. `effort` is
    `balanced`, `fast` or `smallest`, as `codecs.encoders` has them. Raises `PemnError` where the file cannot be put, or
    where `content` breaks a rule of the format or is a patch, and for an unknown effort.
    """
    if content.delta is not None:
        raise not_a_model(content.delta)
    with atomic_write(path, force=force) as file:
        prelude = _write_to(file, content, threads, effort)
    ones = [tuple(map(popcount, tensor.planes)) for tensor in content.masked]
    return ledger_of(prelude, manifest_of(content), ones)


def encode(content: Content, *, threads: int = 1, effort: str = "balanced") -> bytes:
    """Return the bytes of a content, with the errors of `write`.

    The same content, effort and library versions give the same bytes on any `threads`.
    """
    file = io.BytesIO()
    _write_to(file, content, threads, effort)
    return file.getvalue()


def content_id(content: Content) -> str:
    """Return the identity of a content, as 64 hexadecimal digits: SHA-256 over what it says, however it is coded."""
    manifest_json = to_json(manifest_of(content), extra=False)
    return identity(manifest_json, prototype_pieces(content), mask_pieces(content), residual_pieces(content))


def _write_to(file: BinaryIO, content: Content, threads: int, effort: str) -> Prelude:
    """Write header and sections to an empty file. The header's length is known before, its content after the rest."""
    if threads < 1:
        raise PemnError(f"threads must be at least 1, found {threads}")
    manifest = manifest_of(content)
    for_values = encoders(effort, VALUE_CODECS)
    for_masks = encoders(effort, MASK_CODECS, mask_bits=8 * manifest.mask_bytes)
    manifest_json = _checked_json(manifest)
    frame = compress(manifest_json)
    stored_manifest = frame if len(frame) < len(manifest_json) else manifest_json
    streams = (manifest.prototype_bytes, manifest.mask_bytes, manifest.residual_bytes)
    chunks = sum(len(chunk_lengths(stream)) for stream in streams)
    header_bytes = PRELUDE_BYTES + len(stored_manifest) + chunks * CHUNK_ROW.size
    file.write(bytes(header_bytes))
    digest, table = hashlib.sha256(), bytearray()
    lengths = []
    for coded in _sections(content, manifest, for_values, for_masks):
        length = 0
        for chunk, stored in _in_order(coded, threads):
            table += CHUNK_ROW.pack(chunk.codec, chunk.stored, chunk.ones, chunk.crc)
            digest.update(stored)
            file.write(stored)
            length += len(stored)
        lengths.append(length)
    prelude = Prelude(
        manifest_stored=len(stored_manifest),
        manifest_raw=len(manifest_json),
        chunks=chunks,
        prototype_stored=lengths[0],
        mask_stored=lengths[1],
        residual_stored=lengths[2],
        file_bytes=header_bytes + sum(lengths),
        payload_sha256=digest.digest(),
    )
    file.seek(0)
    file.write(prelude.pack(stored_manifest, bytes(table)) + stored_manifest + table)
    return prelude


def _checked_json(manifest: Manifest) -> bytes:
    """What the reader would refuse must not be written: the manifest goes through the reader's own checks."""
    try:
        raw = to_json(manifest)
        parse(raw)
    except (FormatError, TypeError, ValueError) as error:
        raise PemnError(f"the model cannot be written: {error}") from None
    return raw


def _sections(
    content: Content, manifest: Manifest, for_values: Codecs, for_masks: Codecs
) -> Iterator[Iterator[Callable[[], Coded]]]:
    """The encoding of each chunk of each section, as calls that any thread may make."""

    def value_chunk(raw: bytes) -> Coded:
        codec, stored = encode_smallest(raw, for_values)
        return Chunk(codec.id, len(stored), 0, zlib.crc32(stored)), stored

    def mask_chunk(start: int, raw: bytes) -> Coded:
        lattice = mask_lattice(manifest, content.prototypes, start, len(raw))
        codec, stored = encode_smallest(raw, for_masks, lattice)
        return Chunk(codec.id, len(stored), popcount(raw), zlib.crc32(stored)), stored

    yield (partial(value_chunk, raw) for _, raw in _chunks(prototype_pieces(content)))
    yield (partial(mask_chunk, at, raw) for at, raw in _chunks(mask_pieces(content)))
    yield (partial(value_chunk, raw) for _, raw in _chunks(residual_pieces(content)))


def _chunks(pieces: Iterable[bytes | memoryview]) -> Iterator[tuple[int, bytes]]:
    """Cut a stream into chunks; yield the place of each in the stream, and its bytes."""
    start, held = 0, bytearray()
    for piece in pieces:
        left = memoryview(piece)
        while left.nbytes:
            taken = left[: CHUNK_BYTES - len(held)]
            held += taken
            left = left[taken.nbytes :]
            if len(held) == CHUNK_BYTES:
                yield start, bytes(held)
                start += CHUNK_BYTES
                held.clear()
    if held:
        yield start, bytes(held)


def _in_order(calls: Iterable[Callable[[], Coded]], threads: int) -> Iterator[Coded]:
    """Make calls on several threads and yield what they return, in order, running ahead by two calls a thread."""
    if threads <= 1:
        for call in calls:
            yield call()
        return
    with ThreadPoolExecutor(threads) as pool:
        pending: deque[Future[Coded]] = deque()
        for call in calls:
            pending.append(pool.submit(call))
            if len(pending) > 2 * threads:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
