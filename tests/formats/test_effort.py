"""`effort`: what a writer tries changes the bytes of a file, and never what they mean."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from make_golden import smooth_kernels
from samples import SAMPLES, any_contents, one_tensor, random_bits

from pemn_formats import codecs
from pemn_formats.codecs import CODECS, EFFORTS, MASK_CODECS, VALUE_CODECS, encoders
from pemn_formats.content import Content
from pemn_formats.errors import PemnError
from pemn_formats.manifest import manifest_of
from pemn_formats.reader import Reader, read
from pemn_formats.writer import content_id, encode


@given(any_contents())
def test_all_mean_the_same(content: Content) -> None:
    written = {effort: encode(content, effort=effort) for effort in EFFORTS}
    assert {content_id(read(data)) for data in written.values()} == {content_id(content)}
    assert len(written["smallest"]) <= len(written["balanced"]) <= len(written["fast"])
    with Reader.open(written["fast"]) as reader:
        stored = reader.prelude.prototype_stored, reader.prelude.mask_stored, reader.prelude.residual_stored
        manifest = reader.manifest
    assert all(
        found <= raw
        for found, raw in zip(
            stored, (manifest.prototype_bytes, manifest.mask_bytes, manifest.residual_bytes), strict=True
        )
    )


def test_balanced_is_the_default_and_smaller_where_neighbours_tell() -> None:
    balanced, fast, smallest = (encode(smooth_kernels(), effort=effort) for effort in EFFORTS)
    assert encode(smooth_kernels()) == balanced == smallest
    assert len(balanced) < len(fast)


def test_balanced_predicts_no_masks_that_would_load_slowly(monkeypatch: pytest.MonkeyPatch) -> None:
    content = smooth_kernels()
    bits = 8 * manifest_of(content).mask_bytes
    before = {effort: encode(content, effort=effort) for effort in EFFORTS}
    monkeypatch.setattr(codecs, "MOST_BALANCED_BITS", bits)
    assert {effort: encode(content, effort=effort) for effort in EFFORTS} == before
    monkeypatch.setattr(codecs, "MOST_BALANCED_BITS", bits - 1)
    assert encode(content, effort="smallest") == before["smallest"]
    assert encode(content, effort="fast") == before["fast"]
    balanced = encode(content)
    assert len(balanced) > len(before["smallest"])
    with Reader.open(balanced) as reader:
        assert "context" not in reader.codecs()["masks"]
    assert content_id(read(balanced)) == content_id(content)


@pytest.mark.parametrize("density", [0.0, 0.02, 0.5, 0.98])
def test_fast_chooses_among_quick_codecs(density: float) -> None:
    content = one_tensor(1 << 14, bits=random_bits(1 << 14, density, 2))
    with Reader.open(encode(content, effort="fast")) as reader:
        (name,) = reader.codecs()["masks"]
        assert np.array_equal(reader.masked("w").planes[0], content.masked[0].planes[0])
    assert name == {0.0: "const", 0.02: "gap", 0.5: "raw", 0.98: "gap-inverted"}[density]


def test_what_each_effort_tries() -> None:
    for effort in ("balanced", "smallest"):
        assert encoders(effort, MASK_CODECS, mask_bits=1 << 23) == CODECS
        assert encoders(effort, VALUE_CODECS) == VALUE_CODECS
    assert encoders("smallest", MASK_CODECS, mask_bits=1 << 40) == CODECS
    assert encoders("balanced", MASK_CODECS, mask_bits=(1 << 23) + 1) == CODECS[:-1]
    assert CODECS[-1].name == "context"
    assert [each.name for each in encoders("fast", MASK_CODECS)] == ["raw", "const", "zstd", "gap", "gap-inverted"]
    assert [each.name for each in encoders("fast", VALUE_CODECS)] == ["raw", "const", "zstd"]


def test_an_unknown_effort_is_refused() -> None:
    with pytest.raises(PemnError, match=r"^unknown effort 'good'; known: balanced, fast, smallest$"):
        encode(SAMPLES["keep_tile"](), effort="good")
