"""What a file takes, known before it is written."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pemn_formats.content import LOG8, Content, MaskedTensor, Prototype, ResidualTensor
from pemn_formats.foresight import header_bytes, most_bytes, most_mask_bytes, residual_stored
from pemn_formats.log8 import encode as log8_encode
from pemn_formats.manifest import manifest_of
from pemn_formats.reader import Reader
from pemn_formats.writer import encode


def mask(name: str, shape: tuple[int, ...], seed: int, density: float = 0.5, alphabet: str = "keep") -> MaskedTensor:
    rng = np.random.default_rng(seed)
    kept = rng.random(int(np.prod(shape))) < density
    planes = [np.packbits(kept, bitorder="little")]
    if alphabet == "ternary":
        planes.append(np.packbits(rng.random(int(kept.sum())) < 0.5, bitorder="little"))
    count = int(kept.sum()) if alphabet == "ternary" else None
    return MaskedTensor(name, shape, 0, 0, alphabet, np.float32(0.25), count, tuple(planes))


def residual(name: str, channels: int, seed: int, dtype: str) -> ResidualTensor:
    values = np.random.default_rng(seed).standard_normal((2, channels))
    held = log8_encode(values.astype(np.float32)) if dtype == LOG8 else values.astype(dtype)
    return ResidualTensor(name, (2, channels), "bn", dtype, np.float32(1e-5), held)


@settings(deadline=None, max_examples=40, derandomize=True)
@given(
    st.lists(st.integers(1, 900), min_size=1, max_size=5),
    st.sampled_from(["float16", "float32", LOG8]),
    st.sampled_from([0.5, 0.3, 0.05, 1.0]),
    st.sampled_from(["keep", "sign", "ternary"]),
    st.integers(0, 2**32),
)
def test_no_file_takes_more(sizes: list[int], dtype: str, density: float, alphabet: str, seed: int) -> None:
    content = Content(
        seed=seed,
        prototypes=(Prototype(3, "signed"),),
        masked=tuple(mask(f"l{i}.weight", (n, 9), seed + i, density, alphabet) for i, n in enumerate(sizes)),
        residual=tuple(residual(f"bn{i}", n, seed + i, dtype) for i, n in enumerate(sizes)),
    )
    most = most_bytes(content)
    stored = encode(content)
    assert len(stored) <= most.file
    with Reader.open(stored) as reader:
        ledger = reader.ledger()
    assert ledger.residual == residual_stored(content)
    assert ledger.header == header_bytes(manifest_of(content))


def test_a_mask_without_structure_takes_exactly_that() -> None:
    residuals = tuple(residual(f"bn{i}", 64, i, LOG8) for i in range(3))
    content = Content(3, (Prototype(3, "signed"),), (mask("w", (64, 999), 0),), residuals)
    with Reader.open(encode(content)) as reader:
        ledger = reader.ledger()
    most = most_bytes(content)
    assert (ledger.header, ledger.masks) == (most.header, most.masks)
    assert ledger.file_bytes == pytest.approx(most.file, abs=16)


def test_more_chunks_than_one() -> None:
    content = Content(3, (Prototype(3, "signed"),), (mask("w", (4097, 1100), 0),))
    assert len(encode(content)) == most_bytes(content).file


@pytest.mark.parametrize("kept", [0.1, 0.9])
def test_a_ternary_mask_may_keep_all(kept: float) -> None:
    few = Content(3, (Prototype(3, "signed"),), (mask("w", (300, 30), 0, kept, "ternary"),))
    all_kept = dataclasses.replace(few, masked=(mask("w", (300, 30), 1, 1.1, "ternary"),))
    noisy = dataclasses.replace(few, masked=(mask("w", (300, 30), 1, 0.97, "ternary"),))
    assert max(len(encode(each)) for each in (few, all_kept, noisy)) <= most_bytes(few).file


@pytest.mark.parametrize(("alphabet", "planes"), [("keep", 1), ("sign", 1), ("ternary", 2)])
def test_the_masks_alone_take_whole_bytes_a_plane(alphabet: str, planes: int) -> None:
    content = Content(
        3,
        (Prototype(3, "signed"),),
        (mask("a", (7, 3), 0, alphabet=alphabet), mask("b", (4, 4), 1, alphabet=alphabet)),
        (residual("bn", 9, 0, "float16"),),
    )
    assert most_mask_bytes(content) == most_bytes(content).masks == planes * (3 + 2)


def test_what_may_vary_can_count_as_it_is() -> None:
    few = Content(3, (Prototype(3, "signed"),), (mask("w", (300, 30), 0, 0.9, "ternary"),))
    exact = most_bytes(few, varying=False)
    assert exact.header == header_bytes(manifest_of(few), mask_bytes=exact.masks)
    assert exact.header < most_bytes(few).header
