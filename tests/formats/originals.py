"""What the fuzzer starts from: golden files, a file of several chunks in each section, patches with their base."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from chunks import before_the_border
from forge import Forge
from make_golden import context_bytes, golden_bytes, related
from samples import SAMPLES, before_and_after, dense, masked_tensor

from pemn_formats.content import Content, Prototype
from pemn_formats.delta import make_delta
from pemn_formats.limits import CHUNK_BYTES
from pemn_formats.reader import read
from pemn_formats.reconstruct import base
from pemn_formats.writer import encode

PATCHED = ("int8_layers", "ternary_normal", "explicit_prototypes", "bundle")


@dataclass(frozen=True)
class Original:
    """A sound file in parts, and the content that it is compared with or, where it is a patch, made for."""

    name: str
    forge: Forge
    base: Content


def originals() -> list[Original]:
    """Every file that is mutated, always in the same order."""
    files = golden_bytes() | {"many_chunks": many_chunks()}
    made_for = {"patch": before_and_after()[0]}
    for name in PATCHED:
        content = SAMPLES[name]()
        files[f"patch_of_{name}"], made_for[f"patch_of_{name}"] = encode(make_delta(content, content)), content
    return [Original(name, Forge.of(data), made_for.get(name) or read(data)) for name, data in files.items()]


def many_chunks() -> bytes:
    """Two chunks in each of the three sections; the border of the masks cuts a matrix, which goes on context-coded."""
    rows, columns, before = 40, 48, 800
    values = np.zeros(CHUNK_BYTES // 2 + 40, "<f2")
    values[::1000] = 0.5
    matrix = masked_tensor("cut", (rows, columns), np.zeros(rows * columns, np.uint8), alphabet="sign", prototype=1)
    content = Content(
        seed=21,
        prototypes=(Prototype(values.size, "float16", values), Prototype(1009, "uniform")),
        masked=(before_the_border(before), matrix),
        residual=(dense("zeros", np.zeros(CHUNK_BYTES // 4 + 9)), dense("steps", 7, "int64")),
    )
    bits = (base(content, matrix) > 0) == (related(rows, columns, 22).ravel() > 0)
    last = masked_tensor("cut", (rows, columns), bits, alphabet="sign", prototype=1)
    return context_bytes(replace(content, masked=(content.masked[0], last)))
