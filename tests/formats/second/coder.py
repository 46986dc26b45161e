"""The codecs of chunks by SPEC.md, section 6."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import zstandard
from second.text import RefusedError, refuse_unless

MAX_WINDOW = 1 << 27
SHARED, ALONE = 729, 730
NEIGHBOURS = ((0, -1), (-1, 0), (-1, -1), (-1, 1), (0, -2), (-2, 0))


@dataclass(frozen=True)
class Plane:
    """Bits of a plane that lie in a chunk: their first place in the chunk, in the plane, and their number.

    `kernel` is (places, columns) where the tensor has kernels; `signs` gives the signs of base values (begin, end).
    """

    place: int
    begin: int
    count: int
    kernel: tuple[int, int] | None = None
    zero_is_opposite: bool = False
    signs: Callable[[int, int], list[int]] | None = None


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


def decode(codec: int, data: bytes, length: int, planes: list[Plane] | None) -> bytes:
    """A chunk of `length` bytes; `planes` is None outside of the mask section."""
    if codec == 0:
        refuse_unless(len(data) == length, "a raw chunk of another length")
        return data
    if codec == 1:
        refuse_unless(len(data) == 1, "a constant of more than one byte")
        return data * length
    if codec == 2:
        return frame(data, length)
    refuse_unless(planes is not None and codec <= 5, "a codec that the section does not allow")
    if codec == 5:
        return Context(data, length).run(planes or [])
    chunk = _gap(data, length)
    return bytes(byte ^ 255 for byte in chunk) if codec == 4 else chunk


def _gap(data: bytes, length: int) -> bytes:
    data = bytes.fromhex("28b52ffd") + data
    try:
        count = zstandard.get_frame_parameters(data).content_size
    except zstandard.ZstdError as error:
        raise RefusedError("a gap chunk that is no frame") from error
    refuse_unless(1 <= count <= 8 * length, "a number of runs that cannot be")
    runs = frame(data, count)
    refuse_unless(runs[-1] != 255, "runs that end in an escape")
    chunk, at = bytearray(length), 0
    for run in runs:
        at += run
        if run < 255:
            refuse_unless(at < 8 * length, "runs beyond the chunk")
            chunk[at >> 3] |= 1 << (at & 7)
            at += 1
    return bytes(chunk)


class Context:
    """The range coder: its lanes, its words and its counts."""

    def __init__(self, data: bytes, length: int) -> None:
        self.data = data
        self.chunk = bytearray(length)
        self.counts: dict[int, list[int]] = {}

    def run(self, planes: list[Plane]) -> bytes:
        coded = sum(plane.count for plane in planes)
        lanes = 1 << min(9, max(2, max(1, coded // 8192).bit_length() - 1))
        refuse_unless(len(self.data) >= 4 * lanes and len(self.data) % 2 == 0, "lanes or words that are cut")
        self.states = list(struct.unpack_from(f"<{lanes}I", self.data))
        self.words = struct.unpack_from(f"<{len(self.data) // 2 - 2 * lanes}H", self.data, 4 * lanes)
        self.used = 0
        refuse_unless(min(self.states) >= 1 << 16, "a lane that starts too low")
        shared: list[int] = []
        room = 8192
        for plane in planes:
            begin, end = _window(plane, room)
            if begin < end and plane.kernel is not None:
                room -= _blocks_of(plane.kernel[0], end - begin)
                shared += range(plane.place, plane.place + begin - plane.begin)
                self._shared(shared)
                self._kernels(plane, begin, end)
                shared = [*range(plane.place + end - plane.begin, plane.place + plane.count)]
                continue
            bits = range(plane.place, plane.place + plane.count)
            alone = list(_growing(bits))
            if plane.count >= 512 and len(alone) <= room:
                room -= len(alone)
                self._shared(shared)
                shared = []
                self.counts.pop(ALONE, None)
                for block in alone:
                    self._block(block, [ALONE] * len(block))
            else:
                shared += bits
        self._shared(shared)
        refuse_unless(all(state == 1 << 16 for state in self.states), "lanes that do not end where they began")
        refuse_unless(self.used == len(self.words), "words left over")
        return bytes(self.chunk)

    def _shared(self, bits: list[int]) -> None:
        for block in _blocks(bits):
            self._block(block, [SHARED] * len(block))

    def _kernels(self, plane: Plane, begin: int, end: int) -> None:
        places, columns = plane.kernel or (1, 1)
        signs = plane.signs(begin, end) if plane.signs else []
        for place in range(places):
            row, column = divmod(place, columns)
            near = []
            for down, right in NEIGHBOURS:
                inside = row + down >= 0 and 0 <= column + right < columns
                near.append(down * columns + right if inside else None)
            for block in _blocks(range(begin + place, end, places)):
                contexts = []
                for index in block:
                    context = 0
                    for step in near:
                        t = 1
                        if step is not None:
                            t += (
                                self._effective(plane, index + step, signs[index + step - begin]) * signs[index - begin]
                            )
                        context = 3 * context + t
                    contexts.append(context)
                self._block([plane.place + index - plane.begin for index in block], contexts)

    def _effective(self, plane: Plane, index: int, sign: int) -> int:
        at = plane.place + index - plane.begin
        if self.chunk[at >> 3] >> (at & 7) & 1:
            return sign
        return -sign if plane.zero_is_opposite else 0

    def _block(self, bits: list[int], contexts: list[int]) -> None:
        chances = {context: self._chance(context) for context in set(contexts)}
        lanes = len(self.states)
        for begin in range(0, len(bits), lanes):
            step = range(begin, min(begin + lanes, len(bits)))
            for at in step:
                lane, p = at - begin, chances[contexts[at]]
                x = self.states[lane]
                s = x & 4095
                if s < p:
                    self.chunk[bits[at] >> 3] |= 1 << (bits[at] & 7)
                    self.states[lane] = p * (x >> 12) + s
                else:
                    self.states[lane] = (4096 - p) * (x >> 12) + s - p
            for lane in range(len(step)):
                if self.states[lane] < 1 << 16:
                    refuse_unless(self.used < len(self.words), "a coder that runs out of words")
                    self.states[lane] = (self.states[lane] << 16) + self.words[self.used]
                    self.used += 1
        for at, context in zip(bits, contexts, strict=True):
            self.counts[context][self.chunk[at >> 3] >> (at & 7) & 1] += 2
        for context in chances:
            if sum(self.counts[context]) > 16384:
                self.counts[context] = [(count + 1) // 2 for count in self.counts[context]]

    def _chance(self, context: int) -> int:
        zeros, ones = self.counts.setdefault(context, [1, 1])
        return min(4095, max(1, 4096 * ones // (zeros + ones)))


def _window(plane: Plane, room: int) -> tuple[int, int]:
    """The first and last place, in the plane, of the kernels that are coded as such."""
    end = plane.begin + plane.count
    if plane.kernel is not None:
        size = plane.kernel[0]
        first, last = -(-plane.begin // size), end // size
        if last - first >= 64 and _blocks_of(size, size * (last - first)) <= room:
            return first * size, last * size
    return end, end


def _blocks_of(size: int, bits: int) -> int:
    return size * -(-(bits // size) // 1024)


def _blocks(bits: list[int] | range) -> Iterator[list[int]]:
    for begin in range(0, len(bits), 1024):
        yield list(bits[begin : begin + 1024])


def _growing(bits: range) -> Iterator[list[int]]:
    size, begin = 32, 0
    while begin < len(bits):
        yield list(bits[begin : begin + size])
        begin += size
        size = min(2 * size, 8192)
