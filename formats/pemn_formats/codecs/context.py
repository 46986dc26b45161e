"""`context`: each bit coded with a probability learned from what is known before it.

The bits of a matrix are predicted from its weights so far (`matrix`). Other bits are coded with the density met so far:
that of their own plane, or where they are few, of all such bits.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from pemn_formats.codecs.counts import Density
from pemn_formats.codecs.matrix import WRONG_PLANE, Block, Plane, matrix_blocks
from pemn_formats.codecs.rans import LEFT_OVER, OUT_OF_BYTES, Decoder, check_start, encode
from pemn_formats.errors import FormatError
from pemn_formats.lattice import BLOCK, Flat, Lattice, Matrix, growing
from pemn_formats.native import compiled

__all__ = ["MOST_TIMES", "Context", "lanes"]

MOST_TIMES = 128
"""How many times its bytes a chunk may hold. Each bit takes time to read, so that a small file could cost hours; masks
that code so small are coded as well by their gaps."""

_WRONG = {1: OUT_OF_BYTES, 2: LEFT_OVER, 4: WRONG_PLANE}


def lanes(lattice: Lattice) -> int:
    """Return how many coders run side by side: a power of two from 4 to 512, about a flat bit in 8,192.

    Each costs 4 bytes, and too few of them time: a step of numpy takes as long for one lane as for a hundred.
    """
    bits = sum(part.count for part in lattice if isinstance(part, Flat))
    return 1 << min(max((bits >> 13).bit_length() - 1, 2), 9)


class Context:
    """Adaptive binary coding in integer arithmetic."""

    id = 5
    name = "context"
    uses_lattice = True

    def encode(self, raw: bytes, lattice: Lattice = ()) -> bytes | None:
        """Return the coded bits; None where nothing is known of their places, or hardly a byte would be stored."""
        if not lattice:
            return None
        stored = _encode(raw, lattice)
        return stored if len(stored) * MOST_TIMES >= len(raw) else None

    def decode(self, stored: bytes, raw_length: int, lattice: Lattice = ()) -> bytes:
        """Return the bits, zero wherever the lattice has none."""
        if len(stored) * MOST_TIMES < raw_length:
            most = MOST_TIMES * len(stored)
            raise FormatError(f"a context chunk of {len(stored):,} B claims {raw_length:,} B; the most is {most:,}")
        width = lanes(lattice)
        loops = compiled()
        if loops is not None:
            check_start(stored, width)
            packed = np.zeros(raw_length, dtype=np.uint8)
            wrong = loops.context_decode(packed, *_flattened(lattice), width, stored)
            if wrong:
                raise FormatError(_WRONG[wrong])
            return packed.tobytes()
        bits = np.zeros(8 * raw_length, dtype=np.uint8)
        decoder = Decoder(stored, width)
        for places, chance in _blocks(bits, lattice):
            bits[places] = decoder.block(chance.astype(np.uint32))
        decoder.finish()
        return np.packbits(bits, bitorder="little").tobytes()


def _encode(raw: bytes, lattice: Lattice) -> bytes:
    width = lanes(lattice)
    loops = compiled()
    if loops is not None:
        return loops.context_encode(raw, *_flattened(lattice), width)
    bits = np.unpackbits(np.frombuffer(raw, np.uint8), bitorder="little")
    # Narrow, because all of them are held until the last one is known.
    blocks = [(bits[places], chance.astype(np.uint16)) for places, chance in _blocks(bits, lattice)]
    return encode(blocks, width)


def _flattened(lattice: Lattice) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int8]]:
    """The lattice as the compiled coder takes it: a row for each part, and the signs of the matrices that have them."""
    rows = [_row(part) for part in lattice]
    signs = [part.signs() for part in lattice if isinstance(part, Matrix) and part.signs is not None]
    return np.array(rows, dtype=np.int64).reshape(-1, 9), np.concatenate([np.zeros(0, dtype=np.int8), *signs])


def _row(part: Flat | Matrix) -> tuple[int, ...]:
    if isinstance(part, Flat):
        return int(part.alone), part.start, part.count, 1, 1, 1, 1, 0, -1
    sides = part.rows, part.channels, part.height, part.width
    return 2, part.start, part.count, *sides, int(part.signs is not None), -1 if part.among is None else part.among


def _blocks(bits: npt.NDArray[np.uint8], lattice: Lattice) -> Iterator[Block]:
    """Yield places and probabilities of the bits of each block; the bits of a block are read when the next is due."""
    planes = Plane(), Plane()
    density = Density()
    for shared, parts in itertools.groupby(lattice, lambda part: isinstance(part, Flat) and not part.alone):
        if shared:
            yield from _together(bits, list(parts), density)
            continue
        for part in parts:
            if isinstance(part, Matrix):
                yield from matrix_blocks(bits, part, planes[part.among is not None])
            else:
                yield from _alone(bits, part)


def _together(bits: npt.NDArray[np.uint8], parts: list[Flat | Matrix], density: Density) -> Iterator[Block]:
    """Few bits of each of many tensors: blocks of their own would be many and small."""
    places = np.concatenate([np.arange(part.start, part.start + part.count) for part in parts])
    for at in range(0, places.size, BLOCK):
        block = places[at : at + BLOCK]
        yield block, np.full(block.size, density.chance)
        density.learn(bits[block])


def _alone(bits: npt.NDArray[np.uint8], part: Flat) -> Iterator[Block]:
    density, at = Density(), part.start
    for size in growing(part.count):
        block = slice(at, at + size)
        yield block, np.full(size, density.chance)
        density.learn(bits[block])
        at += size
