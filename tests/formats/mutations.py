"""Changes of a file where they hurt, with every digest repaired behind them."""

from __future__ import annotations

import copy
import json
import random
import struct
from collections.abc import Callable
from typing import Any

import zstandard
from forge import Forge, Piece

from pemn_formats import canonical_json, manifest_reader
from pemn_formats.bits import popcount
from pemn_formats.errors import FormatError
from pemn_formats.limits import CHUNK_BYTES
from pemn_formats.prelude import chunk_lengths

NUMBERS = [-1, 0, 1, 2, 3, 7, 8, 9, 15, 16, 17, 255, 256, 65535, 65536, 65537, 1 << 22, (1 << 22) + 1, (1 << 31) - 1]
NUMBERS += [0x3F800000, 0x7F800000, 0x7FC00000, 0x80000000, 0xFF800000, (1 << 32) - 1, 1 << 32, 1 << 40, (1 << 40) + 1]
NUMBERS += [(1 << 62) + 1, (1 << 63) - 1, 1 << 63, (1 << 64) - 1, 1 << 64, 10**30, -(1 << 63)]
STRINGS = ["", "w", "..", "a/b", "a\\b", "pemn:x", "\0", "\x1b[2J", "\u00e9", "\ud800", "x" * 256, "weight", "bias"]
STRINGS += ["keep", "sign", "ternary", "signed", "uniform", "normal", "float32", "float16", "bfloat16", "bool", "int64"]
STRINGS += ["dense", "bn", "scale", "running_var", "num_batches_tracked"]
OTHERS: list[Any] = [None, True, False, [], {}, [[]], {"": 0}, [0] * 9, [1 << 20, 1 << 20], [0, 1 << 40, 1 << 40], 0.5]


def mutate(rng: random.Random, original: Forge) -> bytes:
    """Return a changed file with repaired digests."""
    forge = original.copy()
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        rng.choices(MUTATIONS, WEIGHTS)[0](rng, forge)
    if rng.random() < 0.6:
        _make_streams_fit(rng, forge)
    try:
        return forge.build()
    except (ValueError, struct.error):  # a key that JSON cannot sort or hold, a lie too large for its field
        return original.build()


def _manifest_value(rng: random.Random, forge: Forge) -> None:
    """Replace, nudge, drop, repeat, swap or rename something in the manifest."""
    holder = forge.manifest
    path = []
    while True:
        keys = list(holder) if isinstance(holder, dict) else list(range(len(holder)))
        if not keys:
            break
        path.append((holder, key := rng.choice(keys)))
        if not isinstance(holder[key], (dict, list)) or rng.random() < 0.1:
            break
        holder = holder[key]
    if not path:
        return
    holder, key = path[-1]
    value = holder[key]
    action = rng.randrange(8)
    if action == 0:
        holder[key] = copy.deepcopy(rng.choice(rng.choice((NUMBERS, STRINGS, OTHERS))))
    elif action == 1 and isinstance(value, int):
        holder[key] = rng.choice(
            (value + 1, value - 1, value * 2, value // 2, value ^ (1 << rng.randrange(33)), -value)
        )
    elif action == 1 and isinstance(value, str):
        holder[key] = rng.choice((value + ".", value[1:], value.upper(), value + "\u00e9", value * 2))
    elif action == 2:
        del holder[key]
    elif action == 3 and isinstance(holder, list):
        holder.insert(rng.randrange(len(holder) + 1), copy.deepcopy(value))
    elif action == 4 and isinstance(holder, list):
        rng.shuffle(holder)
    elif action == 5 and isinstance(holder, dict):
        holder[rng.choice(STRINGS)] = holder.pop(key) if rng.random() < 0.5 else copy.deepcopy(value)
    elif action == 6:
        holder[key] = rng.choice(NUMBERS)
    elif isinstance(value, str):
        holder[key] = rng.choice(STRINGS)


def _tensor_row(rng: random.Random, forge: Forge) -> None:
    """Drop or repeat one tensor in every column: a manifest that is still consistent."""
    part = forge.manifest.get(rng.choice(("masked", "residual", "prototypes"))) if forge.manifest else None
    if not isinstance(part, dict):
        return
    columns = [column for column in part.values() if isinstance(column, list) and column]
    if not columns:
        return
    at, repeat = rng.randrange(max(map(len, columns))), rng.random() < 0.5
    for column in columns:
        if at < len(column):
            column[at : at + 1] = [column[at], copy.deepcopy(column[at])] if repeat else []


def _manifest_text(rng: random.Random, forge: Forge) -> None:
    """Damage the text: bytes, spaces, doubled keys, numbers that JSON has and we have not."""
    raw = bytearray(json.dumps(forge.manifest, sort_keys=True, separators=(",", ":")).encode())
    for _ in range(rng.choice((1, 1, 2, 8))):
        at = rng.randrange(len(raw) + 1)
        piece = rng.choice(
            (b" ", b"[", b"]", b"{", b"}", b",", b":", b'"', b"0", b"-", b"1.5", b"1e9", b"NaN", b"\\u0")
        )
        action = rng.randrange(4)
        if action == 0:
            raw[at:at] = piece
        elif action == 1:
            raw[at : at + len(piece)] = piece
        elif action == 2:
            del raw[at : at + rng.randrange(1, 9)]
        else:
            end = min(len(raw), at + rng.randrange(1, 40))
            raw[at:at] = raw[at:end]
    forge.raw_manifest = bytes(raw) or b" "


def _stored_manifest(rng: random.Random, forge: Forge) -> None:
    """Compress the manifest, soundly or not."""
    raw = forge.raw_manifest or json.dumps(forge.manifest, sort_keys=True, separators=(",", ":")).encode()
    frame = zstandard.ZstdCompressor(level=1).compress(raw)
    forge.stored_manifest = frame if rng.random() < 0.5 else _damaged(rng, frame)


def _row(rng: random.Random, forge: Forge) -> None:
    """Lie in a row of the chunk table."""
    if piece := _piece(rng, forge):
        name = rng.choice(("codec", "ones", "stored", "crc"))
        known = rng.randrange(8) if name == "codec" else rng.choice([n & 0xFFFFFFFF for n in NUMBERS])
        nudged = (getattr(piece, name) or len(piece.data)) + rng.choice((-1, 1))
        setattr(piece, name, known if rng.random() < 0.5 else max(0, nudged))


def _stored_bytes(rng: random.Random, forge: Forge) -> None:
    """Damage what a chunk stores."""
    if piece := _piece(rng, forge):
        piece.data = _damaged(rng, piece.data)


def _piece_list(rng: random.Random, forge: Forge) -> None:
    """Drop, repeat, move or invent a chunk."""
    pieces = rng.choice(forge.sections)
    action = rng.randrange(4)
    if action == 0 and pieces:
        del pieces[rng.randrange(len(pieces))]
    elif action == 1 and pieces:
        pieces.append(copy.copy(rng.choice(pieces)))
    elif action == 2 and pieces:
        rng.choice(forge.sections).append(pieces.pop())
    else:
        pieces.append(Piece(rng.randrange(6), rng.randrange(9), rng.randbytes(rng.randrange(1, 20))))


def _prelude(rng: random.Random, forge: Forge) -> None:
    """Lie in the prelude."""
    narrow = ("major", "minor")
    lengths = ("flags", "manifest_stored", "manifest_raw", "chunks", "reserved", "prototypes", "masks", "residual")
    name = rng.choice((*narrow, *lengths, "file_bytes", "magic", "payload_sha256"))
    if name in ("magic", "payload_sha256"):
        forge.fields[name] = rng.randbytes(8)
    else:
        bits = 16 if name in narrow else 32
        wide = 64 if name in ("prototypes", "masks", "residual", "file_bytes") else bits
        forge.fields[name] = rng.choice((*NUMBERS, rng.getrandbits(10))) & ((1 << wide) - 1)


def _make_streams_fit(rng: random.Random, forge: Forge) -> None:
    """Give a changed manifest streams of the lengths it asks for, so that the checks behind the lengths are reached."""
    try:
        raw = forge.raw_manifest or canonical_json.dump(forge.manifest)
        manifest = manifest_reader.parse(raw)
    except (FormatError, ValueError, TypeError):
        return
    needs = (manifest.prototype_bytes, manifest.mask_bytes, manifest.residual_bytes)
    for at, (needed, pieces) in enumerate(zip(needs, forge.sections, strict=True)):
        if needed > 2 * CHUNK_BYTES or (pieces and rng.random() < 0.2):
            continue
        if needed > 1 << 12:
            # As many chunks as before: what they store stays, and with it what the codecs are asked.
            if len(pieces) != len(chunk_lengths(needed)) or rng.random() < 0.1:
                forge.sections[at] = [Piece(1, 0, b"\0") for _ in chunk_lengths(needed)]
            continue
        old = b"".join(piece.data for piece in pieces if piece.codec == 0)
        stream = (old + rng.choice((bytes(needed), b"\x01" * needed, rng.randbytes(needed))))[:needed]
        forge.sections[at] = [Piece(0, popcount(stream) if at == 1 else 0, stream)] if stream else []


def _piece(rng: random.Random, forge: Forge) -> Piece | None:
    pieces = [piece for pieces in forge.sections for piece in pieces]
    return rng.choice(pieces) if pieces else None


def _damaged(rng: random.Random, data: bytes) -> bytes:
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 5))):
        at = rng.randrange(len(out) + 1)
        action = rng.randrange(6)
        if action == 0 and at < len(out):
            out[at] ^= 1 << rng.randrange(8)
        elif action == 1 and at < len(out):
            out[at] = rng.choice((0, 1, 127, 128, 254, 255))
        elif action == 2:
            out[at:at] = rng.randbytes(rng.randrange(1, 5))
        elif action == 3:
            del out[at : at + rng.randrange(1, 5)]
        elif action == 4 and len(out) >= 4:
            out[:4] = rng.choice([n & 0xFFFFFFFF for n in NUMBERS]).to_bytes(4, "little")
        elif action == 5:
            del out[at:]
    return bytes(out)


MUTATIONS: tuple[Callable[[random.Random, Forge], None], ...] = (
    _manifest_value,
    _tensor_row,
    _manifest_text,
    _stored_manifest,
    _row,
    _stored_bytes,
    _piece_list,
    _prelude,
)
WEIGHTS = (10, 3, 2, 1, 3, 6, 2, 2)
