"""Pictures to arrays of one size and one number of channels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from PIL import Image

if TYPE_CHECKING:
    from pemn_compress.data.source import Reading

__all__ = ["adapt", "to_pixels"]

_SIXTEEN_BIT = ("I", "I;16", "I;16B", "I;16L")


def to_pixels(picture: Image.Image, channels: int, size: tuple[int, int] | None) -> npt.NDArray[np.uint8]:
    """Return a picture as uint8 [channels, h, w]: grey for one channel, else RGB.

    With `size` (height, width) it is resized bilinearly, whatever its aspect ratio.
    """
    if picture.mode in _SIXTEEN_BIT:
        picture = Image.fromarray((np.asarray(picture).astype(np.int64) >> 8).clip(0, 255).astype(np.uint8))
    if picture.mode == "P" and "transparency" in picture.info:
        picture = picture.convert("RGBA")
    picture = picture.convert("L" if channels == 1 else "RGB")
    if size is not None and picture.size != (size[1], size[0]):
        picture = picture.resize((size[1], size[0]), Image.Resampling.BILINEAR)
    pixels = np.asarray(picture, dtype=np.uint8)
    return pixels[None] if channels == 1 else pixels.transpose(2, 0, 1)


def adapt(images: npt.NDArray[np.uint8], reading: Reading) -> npt.NDArray[np.uint8]:
    """Bring decoded images, uint8 [n, 1 or 3, h, w], to the size and channels that `reading` asks for."""
    count, channels, height, width = images.shape
    wanted = (reading.channels or channels, *(reading.size or (height, width)))
    if wanted == (channels, height, width):
        return images
    adapted = np.empty((count, *wanted), dtype=np.uint8)
    for index, image in enumerate(images):
        picture = Image.fromarray(image[0] if channels == 1 else np.ascontiguousarray(image.transpose(1, 2, 0)))
        adapted[index] = to_pixels(picture, wanted[0], wanted[1:])
    return adapted
