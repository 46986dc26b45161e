"""`context`: each bit coded with a probability learned from its neighbours in the kernel.

The weights of a learned convolution kernel tend to have the sign of the weights beside them. A bit is predicted from
the signs of up to six neighbours that are already known, relative to the sign of its own value. Bits without neighbours
are coded with the density met so far: that of their own plane, or where they are few, of all such bits.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from pemn_formats.codecs.rans import LEFT_OVER, OUT_OF_BYTES, PRECISION, Decoder, check_start, encode
from pemn_formats.errors import FormatError
from pemn_formats.lattice import BLOCK, Flat, Lattice, Windows, growing
from pemn_formats.native import compiled

__all__ = ["NEIGHBOURS", "Context", "lanes"]

# (rows down, columns right) of the neighbours, the most telling first.
NEIGHBOURS = ((0, -1), (-1, 0), (-1, -1), (-1, 1), (0, -2), (-2, 0))
_CONTEXTS = 3 ** len(NEIGHBOURS)
_FLAT, _ALONE = _CONTEXTS, _CONTEXTS + 1
_FORGET = 1 << 14

Places = slice | npt.NDArray[np.int32]
Block = tuple[Places, npt.NDArray[np.int16]]


def lanes(bits: int) -> int:
    """Return how many coders run side by side for so many bits: a power of two from 4 to 512, about bits / 8,192.

    Each costs 4 bytes, and too few of them time: a step of numpy takes as long for one lane as for a hundred.
    """
    return 1 << min(max((bits >> 13).bit_length() - 1, 2), 9)


class Context:
    """Adaptive binary coding in integer arithmetic; `NEIGHBOURS` and the counts are all its model."""

    id = 5
    name = "context"
    uses_lattice = True

    def encode(self, raw: bytes, lattice: Lattice = ()) -> bytes | None:
        """Return the coded bits, or None where nothing is known of their places."""
        if not lattice:
            return None
        width = lanes(sum(part.count for part in lattice))
        loops = compiled()
        if loops is not None:
            return loops.context_encode(raw, *_flattened(lattice), width)
        bits = np.unpackbits(np.frombuffer(raw, np.uint8), bitorder="little")
        model = _Model()
        blocks = []
        for places, context in _blocks(bits, lattice, model):
            chance, found = model.chances(context), bits[places]
            model.learn(context, found)
            # Narrow, because all of them are held until the last one is known.
            blocks.append((found, chance.astype(np.uint16)))
        return encode(blocks, width)

    def decode(self, stored: bytes, raw_length: int, lattice: Lattice = ()) -> bytes:
        """Return the bits, zero wherever the lattice has none."""
        width = lanes(sum(part.count for part in lattice))
        loops = compiled()
        if loops is not None:
            check_start(stored, width)
            packed = np.zeros(raw_length, dtype=np.uint8)
            wrong = loops.context_decode(packed, *_flattened(lattice), width, stored)
            if wrong:
                raise FormatError(OUT_OF_BYTES if wrong == 1 else LEFT_OVER)
            return packed.tobytes()
        bits = np.zeros(8 * raw_length, dtype=np.uint8)
        model, decoder = _Model(), Decoder(stored, width)
        for places, context in _blocks(bits, lattice, model):
            found = decoder.block(model.chances(context))
            model.learn(context, found)
            bits[places] = found
        decoder.finish()
        return np.packbits(bits, bitorder="little").tobytes()


def _flattened(lattice: Lattice) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int8]]:
    """The lattice as the compiled coder takes it: a row for each part, and the signs of all windows."""
    rows = [
        (2, part.start, part.rows, part.height, part.width, part.negates)
        if isinstance(part, Windows)
        else (int(part.alone), part.start, part.count, 1, 1, 0)
        for part in lattice
    ]
    signs = [part.signs() for part in lattice if isinstance(part, Windows)]
    return np.array(rows, dtype=np.int64).reshape(-1, 6), np.concatenate([np.zeros(0, dtype=np.int8), *signs])


class _Model:
    """How often each context met a zero and a one: integers, so that every machine predicts the same."""

    def __init__(self) -> None:
        self._counts = np.ones((_CONTEXTS + 2, 2), dtype=np.int64)

    def restart(self) -> None:
        """Begin bits that are coded alone."""
        self._counts[_ALONE] = 1

    def chances(self, context: npt.NDArray[np.int16]) -> npt.NDArray[np.uint32]:
        """Return the probability of a one in each context, in units of 2^-12."""
        counts = self._counts
        chance = (counts[:, 1] << PRECISION) // counts.sum(axis=1)
        bounded: npt.NDArray[np.uint32] = np.clip(chance, 1, (1 << PRECISION) - 1).astype(np.uint32)[context]
        return bounded

    def learn(self, context: npt.NDArray[np.int16], bits: npt.NDArray[np.uint8]) -> None:
        """Count the bits of a block, each as 2; a context with more than 2^14 in all is halved, rounding up."""
        met = np.bincount(2 * context + bits, minlength=2 * _CONTEXTS + 4)
        self._counts += 2 * met.reshape(-1, 2)
        full = self._counts.sum(axis=1) > _FORGET
        if full.any():
            self._counts[full] = (self._counts[full] + 1) >> 1


def _blocks(bits: npt.NDArray[np.uint8], lattice: Lattice, model: _Model) -> Iterator[Block]:
    """Yield places and contexts of the bits of each block; the bits of earlier places are read in between."""
    for shared, parts in itertools.groupby(lattice, lambda part: isinstance(part, Flat) and not part.alone):
        if shared:
            yield from _together(list(parts))
            continue
        for part in parts:
            if isinstance(part, Windows):
                yield from _windows(bits, part)
            else:
                model.restart()
                yield from _alone(part)


def _together(parts: list[Flat | Windows]) -> Iterator[Block]:
    """Few bits of each of many tensors: blocks of their own would be many and small."""
    places = np.concatenate([np.arange(part.start, part.start + part.count, dtype=np.int32) for part in parts])
    for at in range(0, places.size, BLOCK):
        block = places[at : at + BLOCK]
        yield block, np.full(block.size, _FLAT, dtype=np.int16)


def _alone(part: Flat) -> Iterator[Block]:
    at = part.start
    for size in growing(part.count):
        yield slice(at, at + size), np.full(size, _ALONE, dtype=np.int16)
        at += size


def _windows(bits: npt.NDArray[np.uint8], part: Windows) -> Iterator[Block]:
    """One place of all kernels at a time, so that every neighbour is known when it is asked for."""
    shape = (part.rows, part.height, part.width)
    window, end = part.height * part.width, part.start + part.count
    signs = part.signs().reshape(shape)
    weights = np.zeros(shape, dtype=np.int8)
    for row in range(part.height):
        for column in range(part.width):
            context = np.zeros(part.rows, dtype=np.int16)
            for down, right in NEIGHBOURS:
                context *= 3
                if row + down >= 0 and 0 <= column + right < part.width:
                    context += weights[:, row + down, column + right] * signs[:, row, column]
                context += 1
            first = part.start + row * part.width + column
            for at in range(0, part.rows, BLOCK):
                begin = first + window * at
                yield slice(begin, min(begin + window * BLOCK, end), window), context[at : at + BLOCK]
            known = bits[first:end:window].view(np.int8)
            weights[:, row, column] = (2 * known - 1 if part.negates else known) * signs[:, row, column]
