"""What else codes masks: zstd and xz over the packed bits, and NNCodec over the codes of every tensor.

NNCodec (Fraunhofer HHI, https://pypi.org/project/nncodec) implements ISO/IEC 15938-17 with the DeepCABAC coder. It
codes integers without loss: 0 and 1 for `keep`, -1 and 1 for `sign`, -1, 0 and 1 for `ternary`, each tensor in its own
shape. It comes with the extra `bench`; without it its column stays empty.
"""

from __future__ import annotations

import lzma
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
import numpy.typing as npt
import zstandard

from pemn_formats.bits import unpack
from pemn_formats.content import Content, MaskedTensor

__all__ = ["RIVALS", "Rival", "codes", "nncodec_version", "rivals"]

RIVALS = ("zstd-19", "xz-9", "nncodec")


@dataclass(frozen=True)
class Rival:
    """A coder with its mask: `encode` gives the coded bytes, `is_back` decodes them and says whether all is back."""

    encode: Callable[[], bytes]
    decode: Callable[[bytes], object]
    is_back: Callable[[object], bool]


def rivals(content: Content, stream: bytes) -> dict[str, Rival | None]:
    """Return every rival, None where it is not installed; `stream` is all bit planes of the content."""

    def over_bytes(encode: Callable[[bytes], bytes], decode: Callable[[bytes], bytes]) -> Rival:
        return Rival(lambda: encode(stream), decode, lambda found: found == stream)

    return {
        "zstd-19": over_bytes(zstandard.ZstdCompressor(level=19).compress, zstandard.ZstdDecompressor().decompress),
        "xz-9": over_bytes(lambda raw: lzma.compress(raw, preset=9), lzma.decompress),
        "nncodec": _nncodec(content),
    }


def codes(tensor: MaskedTensor) -> npt.NDArray[np.int32]:
    """Return what a mask says of each weight, -1, 0 or 1; int32 of the tensor's shape."""
    out = unpack(tensor.planes[0], tensor.numel).astype(np.int32)
    if tensor.alphabet == "sign":
        out = 2 * out - 1
    elif tensor.alphabet == "ternary":
        out[out == 1] -= 2 * unpack(tensor.planes[1], tensor.kept or 0).astype(np.int32)
    return out.reshape(tensor.shape)


def nncodec_version() -> str | None:
    """Return the version of NNCodec, None where it is not installed."""
    try:
        return version("nncodec")
    except PackageNotFoundError:
        return None


def _nncodec(content: Content) -> Rival | None:
    try:
        from nncodec import nnc
    except ImportError:
        return None
    tensors = {str(at): codes(tensor) for at, tensor in enumerate(content.masked)}

    def encode() -> bytes:
        # It writes a file whether one is wanted or not.
        with tempfile.TemporaryDirectory() as folder:
            options: Mapping[str, Any] = {"row_skipping": True, "verbose": False, "return_bitstream": True}
            return bytes(nnc.compress(tensors, bitstream_path=f"{folder}/bits.nnc", **options))

    def is_back(found: object) -> bool:
        assert isinstance(found, dict)  # noqa: S101
        return all(np.array_equal(found[name], values) for name, values in tensors.items())

    return Rival(encode, lambda data: nnc.decompress(bytearray(data), verbose=False), is_back)
