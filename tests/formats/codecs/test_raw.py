from __future__ import annotations

import pytest

from pemn_formats.codecs.raw import Raw
from pemn_formats.errors import FormatError


def test_bytes_stay_as_they_are() -> None:
    assert Raw().encode(b"abc") == b"abc"
    assert Raw().decode(b"abc", 3) == b"abc"


@pytest.mark.parametrize("stored", [b"", b"ab", b"abcd"])
def test_a_wrong_length_is_refused(stored: bytes) -> None:
    with pytest.raises(FormatError, match=rf"^a raw chunk holds {len(stored)} bytes, expected 3$"):
        Raw().decode(stored, 3)
