"""Interleaved binary range asymmetric numeral systems: many coders side by side, one for each lane of a vector.

Duda, "Asymmetric numeral systems", arXiv 1311.2540; the interleaving is Giesen's, arXiv 1402.3392.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from pemn_formats.errors import FormatError

__all__ = ["LEFT_OVER", "OUT_OF_BYTES", "PRECISION", "Decoder", "check_start", "encode"]

PRECISION = 12
"""Bits of a probability: that of a one is p / 2^12, p from 1 to 2^12 - 1."""

OUT_OF_BYTES = "a range coder runs out of bytes"
LEFT_OVER = "a range coder ends with bytes left over"

_FEW = 32
_LOW = np.uint32(1 << 16)
_ONE = np.uint32(1 << PRECISION)
_SLOT = np.uint32((1 << PRECISION) - 1)
_SHIFT = np.uint32(PRECISION)
_WORD = np.uint32(16)

Bits = npt.NDArray[np.uint8]
Chances = npt.NDArray[np.uint32] | npt.NDArray[np.uint16]


def encode(blocks: Sequence[tuple[Bits, Chances]], lanes: int) -> bytes:
    """Return the coded form of blocks of bits, with the probability of a one of each bit.

    Each block is cut into steps of one bit a lane, the last step shorter. First comes the state of each lane (uint32),
    then 16-bit words in the order in which the decoder wants them.
    """
    state = np.full(lanes, _LOW, dtype=np.uint32)
    words: list[npt.NDArray[np.uint16]] = []
    for bits, chance in reversed(blocks):
        width = np.where(bits == 1, chance, _ONE - chance)
        start = np.where(bits == 1, np.uint32(0), chance)
        limit = width.astype(np.uint64) << np.uint64(32 - PRECISION)
        for at in range((bits.size - 1) // lanes * lanes, -1, -lanes):
            x = state[: min(lanes, bits.size - at)]
            step = slice(at, at + lanes)
            full = np.flatnonzero(x >= limit[step])
            if full.size:
                words.append((x[full] & np.uint32(0xFFFF)).astype("<u2"))
                x[full] >>= _WORD
            quotient, rest = np.divmod(x, width[step])
            x[:] = (quotient << _SHIFT) + rest + start[step]
    return state.astype("<u4").tobytes() + b"".join(part.tobytes() for part in reversed(words))


def check_start(coded: bytes, lanes: int) -> npt.NDArray[np.uint32]:
    """Return the first state of each lane; raise `FormatError` for what no encoder writes."""
    if len(coded) < 4 * lanes or len(coded) % 2:
        raise FormatError(f"a range coder with {lanes} lanes cannot start from {len(coded)} bytes")
    state = np.frombuffer(coded, "<u4", lanes).astype(np.uint32)
    if (state < _LOW).any():
        raise FormatError("a range coder starts from a state that no coder leaves")
    return state


class Decoder:
    """Gives the bits back block by block; every byte string is some sequence of bits until it runs out."""

    def __init__(self, coded: bytes, lanes: int) -> None:
        self._lanes = lanes
        self._state = check_start(coded, lanes)
        self._words = np.frombuffer(coded, "<u2", offset=4 * lanes).astype(np.uint32)
        self._few_words = self._words.tolist() if lanes <= _FEW else []
        self._at = 0

    def block(self, chance: Chances) -> Bits:
        """Return the next bits, uint8, as many as there are probabilities of a one."""
        return self._one_by_one(chance) if self._lanes <= _FEW else self._side_by_side(chance)

    def _one_by_one(self, chance: Chances) -> Bits:
        """For few lanes, the same: a step of numpy takes as long as some dozens of bits here."""
        state, words, at = self._state.tolist(), self._few_words, self._at
        ones = bytearray(chance.size)
        lane = 0
        for place, p in enumerate(chance.tolist()):
            x = state[lane]
            slot = x & 0xFFF
            if slot < p:
                ones[place] = 1
                x = p * (x >> PRECISION) + slot
            else:
                x = (0x1000 - p) * (x >> PRECISION) + slot - p
            if x < 1 << 16:
                if at == len(words):
                    raise FormatError(OUT_OF_BYTES)
                x = x << 16 | words[at]
                at += 1
            state[lane] = x
            lane = lane + 1 if lane + 1 < len(state) else 0
        self._state[:] = state
        self._at = at
        return np.frombuffer(ones, np.uint8)

    def _side_by_side(self, chance: Chances) -> Bits:
        ones = np.empty(chance.size, dtype=np.bool_)
        other = _ONE - chance
        for at in range(0, chance.size, self._lanes):
            step = slice(at, at + self._lanes)
            p = chance[step]
            x = self._state[: p.size]
            slot = x & _SLOT
            one = np.less(slot, p, out=ones[step])
            x >>= _SHIFT
            x *= np.where(one, p, other[step])
            x += slot
            np.subtract(x, p, out=x, where=~one)
            empty = np.flatnonzero(x < _LOW)
            if empty.size:
                words = self._words[self._at : self._at + empty.size]
                if words.size < empty.size:
                    raise FormatError(OUT_OF_BYTES)
                x[empty] = (x[empty] << _WORD) | words
                self._at += empty.size
        bits: Bits = ones.view(np.uint8)
        return bits

    def finish(self) -> None:
        """Raise `FormatError` unless every lane is back where an encoder starts and every byte was used."""
        if self._at != self._words.size or (self._state != _LOW).any():
            raise FormatError(LEFT_OVER)
