"""Contents whose mask chunks hold matrices, cut ones and bits without any: what both readers are compared by."""

from __future__ import annotations

import math
import random

import numpy as np
from samples import masked_tensor, random_bits

from pemn_formats.content import Content, MaskedTensor, Prototype
from pemn_formats.limits import CHUNK_BYTES

Shape = tuple[int, ...]


def content_of(*tensors: MaskedTensor, source: str = "uniform") -> Content:
    length = min(1009, max(tensor.numel for tensor in tensors))
    return Content(9, (Prototype(length, source),), tensors)


def tensor_of(shape: Shape, alphabet: str, density: float = 0.9, seed: int = 1, name: str = "w") -> MaskedTensor:
    bits = random_bits(math.prod(shape), density, seed)
    return masked_tensor(name, shape, bits, alphabet=alphabet, negative=random_bits(int(bits.sum()), 0.7, seed + 1))


def empty(shape: Shape, alphabet: str = "keep", name: str = "w") -> MaskedTensor:
    return masked_tensor(name, shape, np.zeros(math.prod(shape), np.uint8), alphabet=alphabet)


def before_the_border(bits: int) -> MaskedTensor:
    """A tensor that leaves so many bits of the first chunk."""
    return empty((8 * CHUNK_BYTES - bits,), name="long")


def some_tensors(rng: random.Random, count: int) -> list[MaskedTensor]:
    tensors = []
    for at in range(count):
        shape = (rng.choice((1, 7, 8, 9, 20, 65)), *(rng.randint(1, 6) for _ in range(rng.randint(0, 3))))
        density, alphabet = rng.choice((0.0, 0.1, 0.5, 0.95, 1.0)), rng.choice(("keep", "sign", "ternary"))
        tensors.append(tensor_of(shape, alphabet, density, rng.randrange(1 << 20), f"t{at}"))
    return tensors
