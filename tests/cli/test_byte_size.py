from __future__ import annotations

import pytest

from pemn_cli.byte_size import byte_size


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("65536", 65536),
        ("65536B", 65536),
        ("64KB", 64_000),
        ("64 kb", 64_000),
        ("64KiB", 65_536),
        ("64kib", 65_536),
        ("0.5MB", 500_000),
        ("1.5KiB", 1_536),
        ("2MiB", 2 << 20),
        ("1GB", 10**9),
        (" 12kB ", 12_000),
        ("1", 1),
    ],
)
def test_sizes(text: str, count: int) -> None:
    assert byte_size(text) == count


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is no size; write bytes with or without a unit, such as 64KB"),
        ("KB", "is no size"),
        ("-4KB", "is no size"),
        ("1e5", "is no size"),
        ("64K B", "is no size"),
        ("nan", "is no size"),
        ("٦٤KB", "is no size"),
        ("9" * 40, "is no size"),
        ("64K", "unknown unit 'K'; known are B, KB"),
        ("64Kb/s", "is no size"),
        ("64kilo", "unknown unit 'kilo'"),
        ("0.3B", "is 0.3 bytes; a size is a whole number"),
        ("1.0001KB", "is 1000.1 bytes"),
        ("0", "is no bytes at all"),
        ("0KB", "is no bytes at all"),
    ],
)
def test_what_is_no_size(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message.replace("(", r"\(")):
        byte_size(text)
