"""The rivals of the mask codecs get the masks that ours get, and give them back."""

from __future__ import annotations

import importlib.util
from dataclasses import replace

import numpy as np
import pytest

from benchmarks import mask_codecs, mask_rivals
from pemn_formats.bits import pack
from pemn_formats.content import MaskedTensor
from pemn_formats.reconstruct import reconstruct


@pytest.mark.parametrize("alphabet", ["keep", "sign", "ternary"])
def test_codes_are_the_weights_over_the_values(alphabet: str) -> None:
    content = mask_codecs.random_content(60, 0.4)
    kept = np.unpackbits(content.masked[0].planes[0], count=60, bitorder="little")
    tensor = replace(content.masked[0], shape=(3, 20), alphabet=alphabet)
    if alphabet == "ternary":
        negative = np.arange(kept.sum()) % 3 == 0
        tensor = replace(tensor, kept=int(kept.sum()), planes=(*tensor.planes, pack(negative)))
    content = replace(content, masked=(tensor,))
    full = replace(tensor, alphabet="keep", kept=None, planes=(pack(np.ones(60, np.uint8)),))
    values = reconstruct(replace(content, masked=(full,)), full)
    assert np.array_equal(mask_rivals.codes(tensor) * values, reconstruct(content, tensor))


def test_a_mask_is_measured_by_every_coder() -> None:
    row = mask_codecs.measure(mask_codecs.random_content(5000, 0.2), 1)
    assert row["chosen"]["bytes"] == row["efforts"]["balanced"]["bytes"] <= row["efforts"]["fast"]["bytes"]
    assert set(row["rivals"]) == set(mask_rivals.RIVALS)
    assert (row["rivals"]["nncodec"] is None) == (importlib.util.find_spec("nncodec") is None)
    assert row["codecs"]["raw"]["bytes"] == 625
    assert "64 k" not in mask_codecs.show([{"name": "a mask", **row}])


def test_a_rival_must_give_the_mask_back() -> None:
    wrong = mask_rivals.Rival(lambda: b"", lambda data: data, lambda found: False)
    with pytest.raises(RuntimeError, match="does not give the mask back"):
        mask_codecs._rival(wrong, 1, 1)


def test_random_masks_have_the_density_that_they_say() -> None:
    (tensor,) = mask_codecs.random_content(100_000, 0.03).masked
    assert isinstance(tensor, MaskedTensor)
    assert abs(np.unpackbits(tensor.planes[0]).sum() / 100_000 - 0.03) < 0.003
