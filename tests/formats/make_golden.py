"""Write the golden files: one of every sample and of every codec, with what they decode to.

    python tests/formats/make_golden.py

A file that exists is left alone, and so is what `expected.json` says of it: golden files of a released version decode
for ever. A change of the format bumps its version and adds files.
"""

from __future__ import annotations

import hashlib
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from forge import Forge, Piece
from samples import SAMPLES, masked_tensor, one_tensor, random_bits

from pemn_formats.bits import pack, popcount
from pemn_formats.bundle import in_task, parts
from pemn_formats.codecs import CODECS
from pemn_formats.content import Content
from pemn_formats.limits import CHUNK_BYTES
from pemn_formats.manifest import manifest_of
from pemn_formats.mask_lattice import mask_lattice
from pemn_formats.reader import Reader, read
from pemn_formats.reconstruct import base, state
from pemn_formats.rounding import OUTPUT_DTYPES
from pemn_formats.writer import encode

GOLDEN = Path(__file__).parent / "golden"
EXPECTED = GOLDEN / "expected.json"


def with_codec(name: str) -> bytes:
    """A file whose only mask chunk is written by one codec, whether that is the smallest or not."""
    masks = [one_tensor(2048, bits=random_bits(2048, density, 14)) for density in (0.1, 0.9, 0.0, 0.5)]
    for content in (*masks, smooth_kernels()):
        data = last_masks_by(name, content)
        if data is not None:
            return data
    raise ValueError(f"no sample suits the codec {name}")


def last_masks_by(name: str, content: Content) -> bytes | None:
    """A file whose last mask chunk is written by one codec, or None where that would take more bytes than the chunk."""
    (codec,) = (codec for codec in CODECS if codec.name == name)
    raw = b"".join(plane.tobytes() for tensor in content.masked for plane in tensor.planes)
    at = (len(raw) - 1) // CHUNK_BYTES * CHUNK_BYTES
    chunk = raw[at:]
    stored = codec.encode(chunk, mask_lattice(manifest_of(content), content.prototypes, at, len(chunk)))
    if stored is None or len(stored) > len(chunk):
        return None
    forge = Forge.of(encode(content, effort="fast"))
    forge.sections[1][-1] = Piece(codec.id, popcount(chunk), stored)
    return forge.build()


def smooth_kernels() -> Content:
    """Kernels as learning makes them: most weights that are kept have the sign of their neighbours."""
    content = one_tensor(16 * 16 * 9, bits=random_bits(16 * 16 * 9, 0.5, 15))
    tensor = replace(content.masked[0], shape=(16, 16, 3, 3))
    side = np.repeat(2.0 * random_bits(16 * 16, 0.5, 16) - 1.0, 9)
    agrees = base(replace(content, masked=(tensor,)), tensor) == side
    bits = np.where(random_bits(16 * 16 * 9, 0.1, 17) == 1, ~agrees, agrees)
    return replace(content, masked=(replace(tensor, planes=(pack(bits),)),))


def related(rows: int, columns: int, seed: int, rank: int = 5) -> np.ndarray:
    """Rows that are sums of the same few, as those of trained layers are nearly."""
    left = 2 * random_bits(rank * rows, 0.5, seed).astype(int) - 1
    right = 2 * random_bits(rank * columns, 0.5, seed + 1).astype(int) - 1
    product: np.ndarray = left.reshape(rows, rank) @ right.reshape(rank, columns)
    return product


def related_rows() -> Content:
    """A matrix of two dimensions whose rows resemble each other."""
    content = one_tensor(40 * 48, source="uniform", alphabet="sign")
    tensor = replace(content.masked[0], shape=(40, 48))
    bits = (base(content, tensor) > 0) == (related(40, 48, 18).ravel() > 0)
    return replace(content, masked=(replace(tensor, planes=(pack(bits),)),))


def related_ternary() -> Content:
    """Both planes of a ternary tensor as matrices, of kernels of 2 x 3 weights."""
    content = one_tensor(24 * 36, source="normal")
    wanted = related(24, 36, 20).ravel()
    negative = (base(content, content.masked[0]) > 0) != (wanted > 0)
    bits = (abs(wanted) > 1).astype(np.uint8)
    tensor = masked_tensor("w", (24, 6, 2, 3), bits, alphabet="ternary", negative=negative[bits == 1])
    return replace(content, masked=(tensor,))


def context_bytes(content: Content) -> bytes:
    """A file whose last mask chunk is written by the context coder."""
    data = last_masks_by("context", content)
    if data is None:
        raise ValueError("the context coder takes more bytes than the chunk")
    return data


def golden_bytes() -> dict[str, bytes]:
    """Every golden file by its name, as today's code writes it."""
    files = {build.__name__: encode(build()) for build in (*SAMPLES.values(), smooth_kernels)}
    files |= {build.__name__: context_bytes(build()) for build in (related_rows, related_ternary)}
    return files | {f"codec_{codec.name.replace('-', '_')}": with_codec(codec.name) for codec in CODECS}


def expectation(data: bytes) -> dict[str, Any]:
    """What a file says: its identity, and the SHA-256 of every tensor in every output dtype."""
    with Reader.open(data) as reader:
        identity = reader.content_id()
    content: Content = read(data)
    return {
        "content_id": identity,
        "sha256": hashlib.sha256(data).hexdigest(),
        "state": {} if content.delta is not None else {dtype: hashes(content, dtype) for dtype in OUTPUT_DTYPES},
    }


def hashes(content: Content, dtype: str) -> dict[str, str]:
    """SHA-256 of every entry of the state dict, of each task in turn."""
    models = parts(content) if content.tasks else {"": content}
    states = {task: state(model, dtype) for task, model in models.items()}
    return {
        in_task(task, name) if task else name: tensor_hash(states[task][name])
        for task in states
        for name in states[task]
    }


def tensor_hash(values: np.ndarray) -> str:
    """SHA-256 over dtype, shape and little-endian bytes in C order."""
    head = f"{values.dtype.name}{list(values.shape)}".encode()
    return hashlib.sha256(head + values.astype(values.dtype.newbyteorder("<")).tobytes()).hexdigest()


def main() -> int:
    GOLDEN.mkdir(exist_ok=True)
    expected = json.loads(EXPECTED.read_text()) if EXPECTED.exists() else {}
    for name, data in golden_bytes().items():
        path = GOLDEN / f"{name}.pemn"
        if path.exists() or name in expected:
            sys.stderr.write(f"{path.name} exists and stays as it is\n")
            continue
        path.write_bytes(data)
        expected[name] = expectation(data)
    EXPECTED.write_text(json.dumps(expected, indent=1, sort_keys=True) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
