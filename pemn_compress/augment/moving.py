"""Moving and mirroring whole images by whole pixels."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["MOVING_WORDS", "shift_and_flip"]

MOVING_WORDS = 1
"""Words an image takes."""


def shift_and_flip(images: Tensor, words: Tensor, *, shift: int, flip: bool) -> Tensor:
    """Move each image by up to `shift` pixels both ways, its edges reflected, and mirror every other one.

    Args:
        images: any dtype, shape (n, channels, height, width), height and width above `shift`.
        words: int64 of shape (n,), values in [0, 2^32): all the randomness there is; best on the CPU.
        shift: pixels; 0 leaves the place alone.
        flip: whether to mirror left and right, by the word's top bit.

    Returns:
        A tensor of the same shape and dtype; `images` itself when nothing is asked for.
    """
    if not shift and not flip:
        return images
    mirrored = (words >> 31 & 1).bool()
    if not shift:
        index = mirrored.nonzero()[:, 0].to(images.device, non_blocking=True)
        return images.index_copy(0, index, images.index_select(0, index).flip(3))
    words, mirrored = (each.to(images.device, non_blocking=True) for each in (words, mirrored))
    count, channels, height, width = images.shape
    choices = 2 * shift + 1
    down = (words & 0x7FFF) % choices - shift
    right = (words >> 15 & 0x7FFF) % choices - shift
    rows = _reflect(torch.arange(height, device=images.device) + down[:, None], height)
    columns = _reflect(torch.arange(width, device=images.device) + right[:, None], width)
    if flip:
        columns = torch.where(mirrored[:, None], columns.flip(1), columns)
    place = (rows[:, :, None] * width + columns[:, None, :]).reshape(count, 1, height * width)
    flat = images.reshape(count, channels, height * width)
    return flat.gather(2, place.expand(count, channels, height * width)).reshape(images.shape)


def _reflect(index: Tensor, size: int) -> Tensor:
    last = size - 1
    return last - (last - index.abs()).abs()
