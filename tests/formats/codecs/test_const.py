from __future__ import annotations

import pytest

from pemn_formats.codecs.const import Const
from pemn_formats.errors import FormatError


@pytest.mark.parametrize("raw", [b"\0", b"\xff" * 500, b"ab" * 0 + b"a" * 3])
def test_one_byte_stands_for_a_run(raw: bytes) -> None:
    assert Const().encode(raw) == raw[:1]
    assert Const().decode(raw[:1], len(raw)) == raw


@pytest.mark.parametrize("raw", [b"", b"ab", b"aaab"])
def test_other_chunks_cannot_be_expressed(raw: bytes) -> None:
    assert Const().encode(raw) is None


@pytest.mark.parametrize("stored", [b"", b"aa"])
def test_a_wrong_length_is_refused(stored: bytes) -> None:
    with pytest.raises(FormatError, match=rf"^a const chunk holds {len(stored)} bytes, expected 1$"):
        Const().decode(stored, 2)
