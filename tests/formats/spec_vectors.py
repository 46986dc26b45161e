"""The test vectors of SPEC.md, section 12, as today's code gives them: the text of each block by its heading."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

import numpy as np
from samples import masked_tensor

from pemn_formats import log8
from pemn_formats.bits import pack
from pemn_formats.codecs.context import Context, _blocks, _Model
from pemn_formats.content import Content, Prototype
from pemn_formats.differences import difference
from pemn_formats.fills import PERMUTATION_STREAM, permute
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


def coded() -> tuple[Content, bytes, bytes]:
    """A mask of 64 kernels that makes every weight positive: content, mask bytes, stored bytes."""
    tensor = masked_tensor("w", (64, 1, 2, 5), np.zeros(640, np.uint8), alphabet="sign")
    content = Content(SEED, (Prototype(640, "signed"),), (tensor,))
    bits = base(content, tensor) > 0
    content = replace(content, masked=(replace(tensor, planes=(pack(bits),)),))
    raw = content.masked[0].planes[0].tobytes()
    lattice = mask_lattice(manifest_of(content), content.prototypes, 0, len(raw))
    stored = Context().encode(raw, lattice)
    if stored is None or Context().decode(stored, len(raw), lattice) != raw:
        raise ValueError("the example of the context coder does not come back")
    return content, raw, stored


def lines_of(data: bytes, per_line: int = 24) -> list[str]:
    return [data[at : at + per_line].hex(" ") for at in range(0, len(data), per_line)]


def context() -> str:
    _, raw, stored = coded()
    return "\n".join(("mask bytes", *lines_of(raw), "stored bytes", *lines_of(stored), *chances()))


def chances() -> list[str]:
    """For each block of the example: its contexts, their bits, ones, and the probability that they are coded with."""
    content, raw, _ = coded()
    lattice = mask_lattice(manifest_of(content), content.prototypes, 0, len(raw))
    bits = np.unpackbits(np.frombuffer(raw, np.uint8), bitorder="little")
    model, lines = _Model(), []
    for at, (places, contexts) in enumerate(_blocks(bits, lattice, model)):
        chance, found = model.chances(contexts), bits[places]
        for each in np.unique(contexts):
            here = contexts == each
            ones = int(found[here].sum())
            lines.append(f"block {at}, context {each}: {here.sum()} bits, {ones} ones, p = {chance[here][0]}")
        model.learn(contexts, found)
    return lines


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
}
