"""The codecs of chunks by SPEC.md, section 6."""

from __future__ import annotations

import struct
from collections.abc import Sequence

import zstandard
from second.matrices import Pair, State, read_matrix
from second.order import Alone, Matrix, Part, growing, units
from second.text import RefusedError, refuse_unless

MAX_WINDOW = 1 << 27
LOWEST = 1 << 16


def frame(data: bytes, length: int) -> bytes:
    """The content of one Zstandard frame, by the rules of section 3."""
    try:
        head = zstandard.get_frame_parameters(data)
        refuse_unless(head.content_size == length, "a frame of another size")
        refuse_unless(head.dict_id == 0, "a frame that needs a dictionary")
        refuse_unless(head.window_size <= MAX_WINDOW, "a frame with a wide window")
        worker = zstandard.ZstdDecompressor(max_window_size=MAX_WINDOW).decompressobj()
        out = worker.decompress(data)
    except zstandard.ZstdError as error:
        raise RefusedError("a damaged frame") from error
    refuse_unless(worker.eof and not worker.unused_data and len(out) == length, "a frame too short or too long")
    return out


def decode(codec: int, data: bytes, length: int, parts: list[Part] | None) -> bytes:
    """A chunk of `length` bytes; `parts` is None outside of the mask section."""
    if codec == 0:
        refuse_unless(len(data) == length, "a raw chunk of another length")
        return data
    if codec == 1:
        refuse_unless(len(data) == 1, "a constant of more than one byte")
        return data * length
    if codec == 2:
        return frame(data, length)
    refuse_unless(parts is not None and codec <= 5, "a codec that the section does not allow")
    if codec == 5:
        return _context(data, length, parts or [])
    chunk = _gap(data, length)
    return bytes(byte ^ 255 for byte in chunk) if codec == 4 else chunk


def _gap(data: bytes, length: int) -> bytes:
    refuse_unless(len(data) > 0 and data[0] > 0, "no escape")
    escape, data = data[0], bytes.fromhex("28b52ffd") + data[1:]
    try:
        count = zstandard.get_frame_parameters(data).content_size
    except zstandard.ZstdError as error:
        raise RefusedError("a gap chunk that is no frame") from error
    refuse_unless(1 <= count <= 8 * length, "a number of runs that cannot be")
    runs = frame(data, count)
    refuse_unless(runs[-1] != escape and max(runs) <= escape, "runs that end in an escape, or above it")
    chunk, at = bytearray(length), 0
    for run in runs:
        at += run
        if run < escape:
            refuse_unless(at < 8 * length, "runs beyond the chunk")
            chunk[at >> 3] |= 1 << (at & 7)
            at += 1
    return bytes(chunk)


class Lanes:
    """The range coder: the states of its lanes, and its words."""

    def __init__(self, data: bytes, coded: int) -> None:
        lanes = 1 << min(9, max(2, max(1, coded // 8192).bit_length() - 1))
        refuse_unless(len(data) >= 4 * lanes and len(data) % 2 == 0, "lanes or words that are cut")
        self.states = list(struct.unpack_from(f"<{lanes}I", data))
        self.words = struct.unpack_from(f"<{len(data) // 2 - 2 * lanes}H", data, 4 * lanes)
        self.used = 0
        refuse_unless(min(self.states) >= LOWEST, "a lane that starts too low")

    def decode(self, chances: list[int]) -> list[int]:
        """The bits of one block."""
        states, bits = self.states, []
        for begin in range(0, len(chances), len(states)):
            step = chances[begin : begin + len(states)]
            for lane, p in enumerate(step):
                x = states[lane]
                s = x & 4095
                bits.append(int(s < p))
                states[lane] = p * (x >> 12) + s if s < p else (4096 - p) * (x >> 12) + s - p
            for lane in range(len(step)):
                if states[lane] < LOWEST:
                    refuse_unless(self.used < len(self.words), "a coder that runs out of words")
                    states[lane] = (states[lane] << 16) + self.words[self.used]
                    self.used += 1
        return bits

    def finish(self) -> None:
        refuse_unless(all(state == LOWEST for state in self.states), "lanes that do not end where they began")
        refuse_unless(self.used == len(self.words), "words left over")


def _context(data: bytes, length: int, parts: list[Part]) -> bytes:
    refuse_unless(128 * len(data) >= length, "a chunk that takes too few bytes")
    order = units(parts)
    lanes = Lanes(data, sum(len(unit.places) for unit in order if not isinstance(unit, Matrix)))
    chunk = bytearray(length)
    shared = Pair()
    states = (State(), State())
    present: list[int] = []
    for unit in order:
        if isinstance(unit, Matrix):
            bits = read_matrix(unit, states[unit.second], present if unit.second else None, lanes.decode)
            if unit.second:
                bits = [bit for bit, one in zip(bits, present, strict=True) if one]
            elif unit.kept is not None:
                refuse_unless(sum(bits) == unit.kept, "a first plane with another number of ones than `kept`")
                present = bits
            _put(chunk, range(unit.place, unit.place + len(bits)), bits)
        elif isinstance(unit, Alone):
            blocks = [unit.places[begin:end] for begin, end in growing(len(unit.places))]
            _read(chunk, lanes, blocks, Pair())
        else:
            _read(chunk, lanes, [unit.places[at : at + 1024] for at in range(0, len(unit.places), 1024)], shared)
    lanes.finish()
    return bytes(chunk)


def _read(chunk: bytearray, lanes: Lanes, blocks: Sequence[Sequence[int]], pair: Pair) -> None:
    """Blocks whose bits have one pair of counts."""
    for block in blocks:
        bits = lanes.decode([pair.chance()] * len(block))
        pair.learn(len(bits) - sum(bits), sum(bits))
        _put(chunk, block, bits)


def _put(chunk: bytearray, places: Sequence[int], bits: list[int]) -> None:
    for at, bit in zip(places, bits, strict=True):
        chunk[at >> 3] |= bit << (at & 7)
