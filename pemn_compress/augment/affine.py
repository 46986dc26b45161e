"""Shears, shifts and rotations, the nearest pixel each time, in integers: equal on every device."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["affine_nearest", "rotation", "shear_x", "shear_y", "translation"]

_BITS = 16  # of the fraction; coordinates of images of up to 8,192 pixels a side then fit into 32 bits


def shear_x(amount: Tensor) -> Tensor:
    """Rows below the top move left by `amount` pixels a pixel; float64 (n,) to matrices (n, 6) for `affine_nearest`."""
    one, zero = torch.ones_like(amount), torch.zeros_like(amount)
    return torch.stack((one, amount, 0.5 * amount, zero, one, zero), 1)


def shear_y(amount: Tensor) -> Tensor:
    """Columns right of the left edge move up by `amount` pixels a pixel."""
    one, zero = torch.ones_like(amount), torch.zeros_like(amount)
    return torch.stack((one, zero, zero, amount, one, 0.5 * amount), 1)


def translation(right: Tensor, down: Tensor) -> Tensor:
    """Move by pixels, cut to whole ones."""
    one, zero = torch.ones_like(right), torch.zeros_like(right)
    return torch.stack((one, zero, -right.trunc(), zero, one, -down.trunc()), 1)


def rotation(degrees: Tensor, size: tuple[int, int]) -> Tensor:
    """Turn counter-clockwise about the middle of images of `size` (height, width)."""
    angle = torch.deg2rad(degrees)
    cosine, sine = angle.cos(), angle.sin()
    y, x = ((side - 1) / 2 for side in size)
    return torch.stack(
        (cosine, -sine, x - cosine * x + sine * y, sine, cosine, y - sine * x - cosine * y),
        1,
    )


def affine_nearest(images: Tensor, matrices: Tensor) -> Tensor:
    """Give pixel (x, y) of the result the pixel nearest to (a x + b y + c, d x + e y + f); 0 outside.

    Args:
        images: uint8 (n, channels, height, width).
        matrices: float64 (n, 6), a to f, on any device. They are rounded to 1 / 65,536 of a pixel, and a place half
            way between two pixels takes the right or the lower one.

    Returns:
        A new tensor of the images' shape.
    """
    count, channels, height, width = images.shape
    fixed = matrices.clone()
    fixed[:, 2::3] += 0.5
    a, b, c, d, e, f = (fixed * (1 << _BITS)).round().to(torch.int32).to(images.device, non_blocking=True).unbind(1)
    x = torch.arange(width, dtype=torch.int32, device=images.device)
    y = torch.arange(height, dtype=torch.int32, device=images.device)

    def places(along: Tensor, down: Tensor, start: Tensor) -> Tensor:
        row = along[:, None] * x + start[:, None]
        return (row[:, None, :] + (down[:, None] * y)[:, :, None]) >> _BITS

    columns, rows = places(a, b, c), places(d, e, f)
    inside_x, inside_y = columns.clamp(0, width - 1), rows.clamp(0, height - 1)
    inside = (inside_x == columns) & (inside_y == rows)
    place = (inside_y * width + inside_x).to(torch.int64).view(count, 1, height * width)
    moved = images.reshape(count, channels, -1).gather(2, place.expand(-1, channels, -1))
    return moved.view(images.shape).mul_(inside[:, None].view(torch.uint8))  # on a CPU much faster than a mask
