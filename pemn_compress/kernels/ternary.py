"""Signs of ternary masks inside a kernel: stored for nonzero weights alone, they are moved to where those stand."""
# mypy: disable-error-code="no-untyped-def, no-untyped-call, untyped-decorator, misc"

from __future__ import annotations

import triton
import triton.language as tl

__all__ = ["ternary_signs"]


@triton.jit
def ternary_signs(signs, quarters, mask):
    """Return the sign bits of each row's nonzero weights, moved to where those weights stand, int32 like `mask`.

    mask: int32 bytes of a tile, (rows,). signs: the packed sign bits, uint8. quarters: how many nonzero weights come
    before each quarter of the tile, int64.

    The bits follow one another without gaps. A row's begin after as many as there are nonzero weights before it: those
    before its quarter of the tile, counted beforehand, and those of the quarter's earlier rows.
    """
    quarter = tl.arange(0, 4)[:, None]
    masks = _four(tl.reshape(mask, (4, mask.shape[0] // 4)))
    pairs = masks - ((masks >> 1) & 0x55555555)
    quads = (pairs & 0x33333333) + ((pairs >> 2) & 0x33333333)
    nonzero = (quads + (quads >> 4)) & 0x0F0F0F0F
    # Rows of two quarters are counted in one sum; a quarter holds under 2^16 weights.
    even = nonzero & 0x00FF00FF
    odd = (nonzero >> 8) & 0x00FF00FF
    even = tl.cumsum(even, 0) - even
    odd = tl.cumsum(odd, 0) - odd
    before = (tl.where(quarter % 2 == 0, even[None, :], odd[None, :]) >> (16 * (quarter // 2))) & 0xFFFF
    rank = tl.load(quarters + quarter)
    count = (nonzero[None, :] >> (8 * quarter)) & 0xFF
    place = (rank & 7).to(tl.uint32) + before
    signs += rank // 8 + (place >> 3).to(tl.int32)
    bit = place & 7
    low = tl.load(signs, mask=count > 0, other=0).to(tl.uint32)
    high = tl.load(signs + 1, mask=bit + count > 8, other=0).to(tl.uint32)
    moved = _spread(_four(((low | (high << 8)) >> bit) & 0xFF), masks)
    return tl.reshape((moved[None, :] >> (8 * quarter)) & 0xFF, mask.shape).to(tl.int32)


@triton.jit
def _four(rows):
    """Return bytes of (4, n) as words, uint32 of shape (n,): what a thread holds of each quarter of the rows."""
    return tl.sum(rows.to(tl.uint32) << (8 * tl.arange(0, 4)[:, None]), 0)


@triton.jit
def _spread(field, mask):
    """Move the first bits of each byte to where bits of the mask's byte are set, in order; in four bytes at once.

    Every bit moves by as many places as there are zeros below it in the mask: by 1, 2 and 4 (Hacker's Delight, 7-5).
    """
    zeros = ((mask ^ 0xFFFFFFFF) << 1) & 0xFEFEFEFE
    left = mask
    for step in tl.static_range(3):
        odd = zeros ^ ((zeros << 1) & 0xFEFEFEFE)
        odd = odd ^ ((odd << 2) & 0xFCFCFCFC)
        odd = odd ^ ((odd << 4) & 0xF0F0F0F0)
        moving = odd & left
        left = (left ^ moving) | (moving >> (1 << step))
        zeros = zeros & ~odd
        if step == 0:
            by_one = moving
        elif step == 1:
            by_two = moving
        else:
            by_four = moving
    field = (field & ~by_four) | ((field << 4) & by_four)
    field = (field & ~by_two) | ((field << 2) & by_two)
    field = (field & ~by_one) | ((field << 1) & by_one)
    return field & mask
