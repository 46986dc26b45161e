from __future__ import annotations

import struct
import tracemalloc
from collections.abc import Callable, Iterator

import pytest
import zstandard

from pemn_formats.codecs.zstd import Zstd, compress, decompress
from pemn_formats.errors import FormatError

RAW = b"abcabcabc" * 20


def frame(raw: bytes = RAW, **options: object) -> bytes:
    return zstandard.ZstdCompressor(**options).compress(raw)  # type: ignore[arg-type]


# Two kilobytes that declare, and decode to, 64 MiB.
HUGE = frame(bytes(64 << 20), level=1)


def without_size() -> bytes:
    return zstandard.ZstdCompressor(write_content_size=False).compress(RAW)


def with_dictionary() -> bytes:
    dictionary = zstandard.ZstdCompressionDict(b"abcabcabcabcabc" * 20, dict_type=zstandard.DICT_TYPE_RAWCONTENT)
    trained = zstandard.train_dictionary(512, [bytes([i % 7, i % 11, i % 13] * 9) for i in range(400)])
    assert dictionary.dict_id() == 0
    return zstandard.ZstdCompressor(dict_data=trained).compress(RAW)


def skippable() -> bytes:
    """A frame of 180 bytes to be skipped: it has a size, and no content."""
    return struct.pack("<II", 0x184D2A50, len(RAW)) + RAW


def wide_window() -> bytes:
    """A frame of the right size that wants a window of 2 GiB: magic, descriptor, window, size, one raw block."""
    return struct.pack("<IBBI", 0xFD2FB528, 0b1000_0000, 21 << 3, len(RAW)) + last_block(RAW)


def last_block(raw: bytes) -> bytes:
    return struct.pack("<I", len(raw) << 3 | 1)[:3] + raw


def lying_about_its_size() -> bytes:
    """A single-segment frame that declares one byte more than its block has."""
    return struct.pack("<IBB", 0xFD2FB528, 0b0010_0000, len(RAW)) + last_block(RAW[1:])


HOSTILE = {
    "empty": (b"", "a zstd frame does not decode: "),
    "no frame": (RAW, "a zstd frame does not decode: "),
    "a huge size": (HUGE, f"a zstd frame declares {64 << 20} bytes, expected 180"),
    "another size": (frame(RAW + b"a"), "a zstd frame declares 181 bytes, expected 180"),
    "no size": (without_size(), "a zstd frame declares .* bytes, expected 180"),
    "junk behind it": (frame() + b"\0", "a zstd frame does not decode: .*unused data"),
    "a second frame": (frame() + frame(b""), "a zstd frame does not decode: .*unused data"),
    "a dictionary": (with_dictionary(), "a zstd frame (needs|declares) "),
    "cut": (frame()[:-1], "a zstd frame does not decode: "),
    "to be skipped": (skippable(), "a zstd frame does not decode: .*decompressed 0 bytes; expected 180"),
    "a lie about its size": (lying_about_its_size(), "a zstd frame does not decode: "),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_frames_are_refused(name: str) -> None:
    stored, message = HOSTILE[name]
    with pytest.raises(FormatError, match=rf"^{message}") as caught:
        decompress(stored, len(RAW))
    assert str(caught.value).isprintable()


@pytest.fixture
def traced() -> Iterator[Callable[[], int]]:
    tracemalloc.start()
    yield lambda: tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()


def test_a_huge_declared_size_allocates_nothing(traced: Callable[[], int]) -> None:
    with pytest.raises(FormatError, match="declares 67108864 bytes"):
        decompress(HUGE, 10)
    assert traced() < 1 << 16


def test_a_wide_window_is_refused_and_allocates_nothing(traced: Callable[[], int]) -> None:
    with pytest.raises(FormatError, match=r"^a zstd frame wants a window of 2147483648 bytes, expected at most 2\^27$"):
        decompress(wide_window(), len(RAW))
    assert traced() < 1 << 16


@pytest.mark.parametrize("options", [{"level": level} for level in (-5, 1, 3, 9, 19, 22)] + [{"write_checksum": True}])
def test_every_encoder_setting_is_read(options: dict[str, object]) -> None:
    assert decompress(frame(RAW * 100, **options), 100 * len(RAW)) == RAW * 100


def test_a_damaged_frame_checksum_is_refused() -> None:
    stored = bytearray(frame(write_checksum=True))
    stored[-1] ^= 1
    with pytest.raises(FormatError, match="does not decode"):
        decompress(bytes(stored), len(RAW))


def test_frames_declare_their_size_and_carry_no_checksum() -> None:
    for raw in (b"", RAW, bytes(70_000)):
        parameters = zstandard.get_frame_parameters(compress(raw))
        assert (parameters.content_size, parameters.has_checksum, parameters.dict_id) == (len(raw), False, 0)
        assert decompress(compress(raw), len(raw)) == raw


def test_nothing_is_not_encoded() -> None:
    assert Zstd().encode(b"") is None
