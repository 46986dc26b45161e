"""Two readers that share no code decode matrices to the same bits, and refuse the same of them."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest
from chunks import before_the_border, content_of, empty, some_tensors, tensor_of
from forge import Forge
from make_golden import context_bytes, related_ternary
from samples import masked_tensor, random_bits
from second.matrices import State
from second_reader import RefusedError, load
from two_readers import first, read, second

from pemn_formats.codecs.matrix import _WEIGHTS
from pemn_formats.codecs.mixing import Mixer
from pemn_formats.content import Content, Prototype
from pemn_formats.delta import make_delta
from pemn_formats.errors import FormatError


def check_bits(content: Content) -> None:
    """Both readers find the same in the last chunk of masks, coded by `context`."""
    room = empty((3000,), name="room")  # what is stored has no more bytes than the chunk
    data = context_bytes(content if content.delta else replace(content, masked=(*content.masked, room)))
    assert second(data) == first(data) is not None


@pytest.mark.parametrize("alphabet", ["keep", "sign", "ternary"])
@pytest.mark.parametrize("left", [168, 280, 704])
def test_both_decode_what_the_border_leaves(alphabet: str, left: int) -> None:
    """Of the ternary tensor of 640 weights the border cuts the first plane, both times, or the second one."""
    tensors = tensor_of((40, 2, 2, 4), alphabet), tensor_of((9, 20), "sign", name="after")
    check_bits(content_of(before_the_border(left), *tensors))


@pytest.mark.parametrize("alphabet", ["keep", "sign", "ternary"])
@pytest.mark.parametrize("source", ["signed", "uniform", "normal"])
def test_both_decode_any_chunk(alphabet: str, source: str) -> None:
    rng = random.Random(alphabet + source)
    last = tensor_of((17, 40), alphabet, name="last"), tensor_of((12, 3, 2, 5), alphabet, 0.8, name="kernels")
    for _ in range(3):
        check_bits(content_of(*some_tensors(rng, 5), *last, source=source))


def test_both_decode_more_rows_than_are_compared() -> None:
    """Groups of 64 rows, 256 of those before them, and counts that are halved."""
    check_bits(content_of(tensor_of((640, 16), "sign", 0.95)))


def test_both_decode_rows_so_alike_that_likeness_is_bounded() -> None:
    bits = np.tile(random_bits(2100, 0.5, 4), (9, 1))
    bits[3] ^= 1
    check_bits(Content(9, (Prototype(2100, "uniform"),), (masked_tensor("w", (9, 2100), bits.ravel()),)))


@pytest.mark.parametrize("by", [-1, 1])
def test_both_refuse_a_first_plane_with_another_number_of_ones_than_kept(by: int) -> None:
    forge = Forge.of(context_bytes(related_ternary()))
    (kept,) = forge.manifest["masked"]["kept"]
    assert -(-kept // 8) == -(-(kept + by) // 8)
    forge.manifest["masked"]["kept"] = [kept + by]
    data = forge.build()
    with pytest.raises(FormatError, match="another number of nonzero weights"):
        read(data)
    with pytest.raises(RefusedError, match="a first plane with another number of ones"):
        load(data)


def test_both_decode_a_patch() -> None:
    old, new = (content_of(tensor_of((16, 40), "sign", seed=seed)) for seed in (1, 8))
    check_bits(make_delta(old, new))


def test_both_bound_the_weights_of_inputs() -> None:
    """No mask is likely to get there: it takes 30,000 blocks that are all wrong in one way."""
    ours, theirs = Mixer(_WEIGHTS), State()
    inputs = [2047, -2047, 64, 0, 1, 2000, -1500]
    for _ in range(35_000):
        ours.learn(np.array(inputs)[:, None], np.array([4095]))
        theirs.learn([inputs], [4095])
    assert theirs.weights[:2] == [1 << 22, -(1 << 22)]
    assert theirs.weights == ours._weights.tolist()
