"""The test vectors of SPEC.md, section 12, as today's code gives them: the text of each block by its heading."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

import numpy as np
from make_golden import related
from samples import masked_tensor

from pemn_formats import log8
from pemn_formats.codecs.context import Context
from pemn_formats.codecs.matrix import _WEIGHTS, Plane, matrix_blocks
from pemn_formats.codecs.mixing import LARGEST, Integers, Mixer, bounded
from pemn_formats.content import Content, Prototype
from pemn_formats.differences import difference
from pemn_formats.fills import PERMUTATION_STREAM, permute
from pemn_formats.lattice import Matrix, groups
from pemn_formats.log8_table import LOG8_TABLE
from pemn_formats.manifest import manifest_of
from pemn_formats.mask_lattice import mask_lattice
from pemn_formats.normal_table import NORMAL_TABLE
from pemn_formats.philox import philox4x32, words
from pemn_formats.reconstruct import base, reconstruct
from pemn_formats.values import unit_values

SEED = 2022
LAST = (1 << 64) - 1
COUNTERS = (
    ((0, 0, 0, 0), (0, 0)),
    ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2),
    ((0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344), (0xA4093822, 0x299F31D0)),
)


def hexes(numbers: Iterable[int], digits: int = 8) -> str:
    return " ".join(f"{int(number):0{digits}x}" for number in numbers)


def rows(numbers: Iterable[int], per_row: int, width: int) -> str:
    texts = [f"{int(number):{width}d}" for number in numbers]
    return "\n".join(" ".join(texts[at : at + per_row]) for at in range(0, len(texts), per_row))


def floats(values: Iterable[float]) -> str:
    return " ".join(shown(value) for value in values)


def shown(value: float) -> str:
    """A hexadecimal float without the zeros that Python pads it with."""
    mantissa, mark, exponent = float(value).hex().partition("p")
    return f"{mantissa.rstrip('0').rstrip('.') if '.' in mantissa else mantissa}{mark}{exponent}"


def philox() -> str:
    lines = []
    for counter, key in COUNTERS:
        (found,) = philox4x32(np.array([counter], np.uint32), key)
        lines.append(f"{hexes(counter)} | {hexes(key)} | {hexes(found)}")
    return "\n".join(lines)


def streams() -> str:
    return "\n".join(
        f"seed {seed}, stream {stream}: {hexes(words(seed, stream, 0, 6))}"
        for seed, stream in ((SEED, 0), (SEED, 1), (LAST, PERMUTATION_STREAM))
    )


def values() -> str:
    signs = "".join("+" if value > 0 else "-" for value in unit_values("signed", SEED, 0, 0, 40))
    normal = unit_values("normal", SEED, 0, 0, 12) * 8192
    return "\n".join(
        (
            f"signed   {signs}",
            f"uniform  {floats(unit_values('uniform', SEED, 0, 0, 5))}",
            f"normal   {' '.join(str(int(value)) for value in normal)}  (times 2^-13)",
        )
    )


def normal_table() -> str:
    return rows(NORMAL_TABLE[128:], 16, 5)


def log8_table() -> str:
    return rows((LOG8_TABLE.astype(np.float64) * (1 << 24)).astype(np.int64), 8, 8)


def permutation() -> str:
    lines = []
    for span, count in ((10, 10), (1000, 12)):
        found = permute(np.arange(count), SEED, PERMUTATION_STREAM, span)
        lines.append(f"span {span}: {' '.join(str(int(value)) for value in found)}")
    return "\n".join(lines)


STORED = np.array([1.5, -0.7, 0.0, -0.0, 2.0**-149], "<f4")


def selection() -> str:
    """One tensor of five weights, kept and not, in each alphabet and dtype."""
    lines = [f"base {floats(STORED)}"]
    prototype = (Prototype(5, "float32", STORED),)
    scale = np.float32(0.1)
    for alphabet, bits, negative in (("keep", 1, 0), ("keep", 0, 0), ("sign", 0, 0), ("ternary", 1, 1)):
        tensor = masked_tensor(
            "w", (5,), np.full(5, bits), alphabet=alphabet, scale=scale, negative=np.full(5 * bits, negative)
        )
        content = Content(0, prototype, (tensor,))
        for dtype, digits in (("float32", 8), ("float16", 4), ("bfloat16", 4)):
            found = reconstruct(content, tensor, dtype).view(f"<u{digits // 2}")
            lines.append(f"{alphabet:<8} {bits - 2 * negative:2d}  {dtype:<9} {hexes(found, digits)}")
    return "\n".join(lines)


def logarithms() -> str:
    codes = (0, 1, 64, 126, 127, 129, 255)
    lines = ["code      " + " ".join(str(code) for code in codes)]
    for high, shift in ((1.0, 0), (0.1, 2), (3.0, 5)):
        stored = np.frombuffer(np.float32(high).tobytes() + bytes((shift, *codes)), np.uint8)
        found = log8.decode(stored, 1).view("<u4")[0]
        lines.append(f"hi {np.float32(high).view('<u4'):08x}, shift {shift}: {hexes(found)}")
    return "\n".join(lines)


def differences() -> str:
    lines = []
    for dtype, old, new in (
        ("float16", [1.0, -1.0, 0.0, 2.0], [1.0009765625, -1.0009765625, -0.0, 1.0]),
        ("int8", [5, -127, 0], [4, 127, -128]),
        ("int32", [0, 256], [-1, 0]),
    ):
        before, after = (np.array(each, np.dtype(dtype).newbyteorder("<")) for each in (old, new))
        found = difference(before.tobytes(), after.tobytes(), dtype)
        texts = [hexes(each.view(f"<u{each.itemsize}"), 2 * each.itemsize) for each in (before, after)]
        lines.append(f"{dtype}: {texts[0]} | {texts[1]} | {found.hex(' ')}")
    return "\n".join(lines)


def example(alphabet: str, shape: tuple[int, ...], seed: int, rank: int = 1) -> Content:
    """A tensor whose weights have the signs of related rows."""
    wanted = related(shape[0], math.prod(shape[1:]), seed, rank).ravel()
    content = Content(SEED, (Prototype(wanted.size, "signed"),), (masked_tensor("w", shape, wanted > 0),))
    bits, negative = (base(content, content.masked[0]) > 0) == (wanted > 0), None
    if alphabet == "ternary":
        kept = abs(wanted) > 1
        bits, negative = kept, ~bits[kept]
    return replace(content, masked=(masked_tensor("w", shape, bits, alphabet=alphabet, negative=negative),))


EXAMPLES = {
    "sign": example("sign", (16, 2, 2, 3), 22),
    "ternary": example("ternary", (16, 3, 4), 33, rank=3),
}


def coded(content: Content) -> str:
    """The planes and the stored bytes of a content that has matrices only, and how they are coded."""
    raw = b"".join(plane.tobytes() for plane in content.masked[0].planes)
    lattice = mask_lattice(manifest_of(content), content.prototypes, 0, len(raw))
    stored = Context().encode(raw, lattice)
    if stored is None or len(stored) > len(raw) or Context().decode(stored, len(raw), lattice) != raw:
        raise ValueError("the example of the context coder does not come back, or takes more bytes than the chunk")
    planes = np.unpackbits(np.frombuffer(raw, np.uint8), bitorder="little")
    lines = ["mask bytes", *lines_of(raw), "stored bytes", *lines_of(stored)]
    for number, part in enumerate(lattice):
        if not isinstance(part, Matrix):
            raise TypeError("the example has bits outside of matrices")
        lines += [f"plane {number + 1}", *steps(planes, part)]
    return "\n".join(lines)


def lines_of(data: bytes, per_line: int = 24) -> list[str]:
    return [data[at : at + per_line].hex(" ") for at in range(0, len(data), per_line)]


class Recorder(Mixer):
    """A mixer that remembers what it was given last, and its sum."""

    def mix(self, inputs: Integers) -> Integers:
        self.inputs, self.odds = inputs, bounded(self._weights @ inputs >> 16, LARGEST)
        return super().mix(inputs)


def steps(bits: np.ndarray, part: Matrix) -> list[str]:
    """For each block with bits: inputs and sum of its first bit, and the chances of all."""
    plane = Plane()
    plane.mixer = mixer = Recorder(_WEIGHTS)
    lines = []
    for (first, q), (_, chances) in zip(blocks_of(bits, part), matrix_blocks(bits, part, plane), strict=True):
        inputs = " ".join(map(str, mixer.inputs[:, 0]))
        lines.append(f"f {first}, q {q}: inputs {inputs}, d {mixer.odds[0]}, p {' '.join(map(str, chances))}")
    return lines


def blocks_of(bits: np.ndarray, part: Matrix) -> Iterator[tuple[int, int]]:
    """The first row of the group and the column of each block that has bits."""
    weights = part.rows * part.columns
    coded = np.ones(weights) if part.among is None else bits[part.among : part.among + weights]
    by_column = coded.reshape(part.rows, part.channels, -1).transpose(0, 2, 1).reshape(part.rows, part.columns)
    for first, size in groups(part.rows):
        for q in np.flatnonzero(by_column[first : first + size].any(axis=0)):
            yield first, int(q)


def context() -> str:
    return coded(EXAMPLES["sign"])


def context_ternary() -> str:
    return coded(EXAMPLES["ternary"])


BLOCKS: dict[str, Callable[[], str]] = {
    "Philox4x32-10": philox,
    "Words": streams,
    "Values": values,
    "T": normal_table,
    "U": log8_table,
    "Permutation": permutation,
    "Weights": selection,
    "log8": logarithms,
    "Differences": differences,
    "Context coder": context,
    "Ternary planes by the context coder": context_ternary,
}
