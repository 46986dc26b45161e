"""The identity of a content, independent of codecs and library versions."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable

__all__ = ["identity"]

_DOMAIN = b"pemn content 1\n"


def identity(manifest_json: bytes, *streams: bytes | Iterable[bytes | memoryview]) -> str:
    """Return SHA-256 over the manifest without `x` and the three decoded streams, as hexadecimal digits.

    The manifest's length goes first; those of the streams follow from it.
    """
    digest = hashlib.sha256(_DOMAIN + struct.pack("<Q", len(manifest_json)) + manifest_json)
    for stream in streams:
        for part in (stream,) if isinstance(stream, bytes) else stream:
            digest.update(part)
    return digest.hexdigest()
