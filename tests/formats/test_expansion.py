"""How much a file can decode to is bounded by its size (SPEC section 11), and passing over it takes little memory."""

from __future__ import annotations

import tracemalloc

import pytest
from forge import Forge, Piece
from samples import one_tensor

from pemn_formats.dense import dense_bytes
from pemn_formats.errors import FormatError
from pemn_formats.limits import CHUNK_BYTES
from pemn_formats.prelude import CHUNK_ROW
from pemn_formats.reader import Reader
from pemn_formats.writer import encode

BOUND = CHUNK_BYTES / (CHUNK_ROW.size + 1)


def zeros(chunks: int) -> Forge:
    """As few bytes as chunks can take: each is one repeated byte."""
    forge = Forge.of(encode(one_tensor(24)))
    forge.manifest["masked"]["shapes"] = [[chunks, 8 * CHUNK_BYTES]]
    forge.sections[1] = [Piece(1, 0, b"\0") for _ in range(chunks)]
    return forge


@pytest.mark.parametrize("chunks", [1, 64, 2048])
def test_no_file_decodes_to_more_than_the_bound(chunks: int) -> None:
    data = zeros(chunks).build()
    with Reader.open(data) as reader:
        decoded, dense = reader.manifest.mask_bytes, dense_bytes(reader.manifest)
    assert decoded == chunks * CHUNK_BYTES
    assert decoded < BOUND * len(data)
    assert dense == 32 * decoded
    if chunks == 2048:  # the bound is no larger than it must be
        assert decoded > 0.97 * BOUND * len(data)


def test_a_chunk_without_a_row_or_without_a_byte_is_refused() -> None:
    forge = zeros(4)
    del forge.sections[1][-1]
    with pytest.raises(FormatError, match=r"^the file has 3 chunks, its tensors need 4$"):
        Reader.open(forge.build())
    forge = zeros(4)
    forge.sections[1][2].data = b""
    with pytest.raises(FormatError, match=r"^a chunk of the masks stores 524288 bytes in 0$"):
        Reader.open(forge.build())


def test_what_shows_a_file_holds_no_more_than_a_few_chunks_of_it() -> None:
    data = zeros(128).build()
    tracemalloc.start()
    try:
        with Reader.open(data) as reader:
            reader.verify_payload()
            assert len(reader.content_id()) == 64
            assert reader.mask_ones() == {"w": (0,)}
            assert reader.ledger().mask_ones == 0
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 4 * CHUNK_BYTES
