from __future__ import annotations

import torch

from pemn_compress.augment.moving import shift_and_flip


def word(down: int = 0, right: int = 0, mirrored: bool = False) -> int:
    return down | right << 15 | mirrored << 31


def test_shift_moves_and_reflects_edges() -> None:
    image = torch.arange(9).reshape(1, 1, 3, 3)
    words = torch.tensor([word(down=2, right=1)])
    moved = shift_and_flip(image, words, shift=1, flip=False)
    assert moved[0, 0].tolist() == [[3, 4, 5], [6, 7, 8], [3, 4, 5]]


def test_flip_mirrors_left_and_right_by_the_top_bit() -> None:
    image = torch.arange(9).reshape(1, 1, 3, 3).repeat(2, 1, 1, 1)
    words = torch.tensor([word(down=1, right=1), word(down=1, right=1, mirrored=True)])
    plain, mirrored = shift_and_flip(image, words, shift=1, flip=True)
    assert plain.equal(image[0])
    assert mirrored.equal(image[0].flip(-1))


def test_shift_and_flip_reach_every_place_equally() -> None:
    pixels = torch.zeros(4000, 1, 5, 5, dtype=torch.uint8)
    pixels[:, :, 2, 1] = 1
    words = torch.randint(0, 2**32, (4000,), generator=torch.Generator().manual_seed(0))
    places = shift_and_flip(pixels, words, shift=1, flip=True).sum(0)[0]
    assert (places[1:4] > 4000 / 18 * 0.7).all()
    assert places.sum() > 4000


def test_nothing_asked_for_changes_nothing() -> None:
    images = torch.zeros(2, 1, 3, 3)
    assert shift_and_flip(images, torch.zeros(2, dtype=torch.int64), shift=0, flip=False) is images


def test_a_flip_alone_mirrors_the_same_images_as_with_a_shift() -> None:
    images = torch.randint(0, 256, (40, 3, 5, 6), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    words = torch.tensor([word(down=1, right=1, mirrored=row % 3 == 0) for row in range(40)])
    alone = shift_and_flip(images, words, shift=0, flip=True)
    assert alone.equal(shift_and_flip(images, words, shift=1, flip=True))
    assert alone[0].equal(images[0].flip(-1))
    assert alone[1].equal(images[1])
