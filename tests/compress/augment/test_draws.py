"""What is drawn beside what torchvision's transforms draw, by statistics of many images under fixed seeds."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor
from torchvision.transforms import v2

from pemn_compress.augment.crop import CROP_WORDS, crop_boxes
from pemn_compress.augment.erasing import ERASING_WORDS, erased_boxes
from pemn_compress.augment.jitter import JITTER_WORDS, ORDERS, jitter_factors
from pemn_compress.augment.randaugment import OPERATIONS, choose

COUNT = 6000
# Two samples of one distribution are further apart than this once in 10,000 tests (Kolmogorov and Smirnov).
FAR = 2.23 * math.sqrt(2 / COUNT)


def distance(left: Sequence[float], right: Sequence[float]) -> float:
    """The greatest distance between the two empirical distribution functions."""
    a, b = torch.tensor(left, dtype=torch.float64).sort().values, torch.tensor(right, dtype=torch.float64).sort().values
    places = torch.cat((a, b))
    below = [torch.searchsorted(each, places, right=True) / len(each) for each in (a, b)]
    return float((below[0] - below[1]).abs().max())


def chi_square(left: Counter[Any], right: Counter[Any]) -> float:
    """The statistic of two equally large samples, over its degrees of freedom."""
    kinds = left.keys() | right.keys()
    return sum((left[kind] - right[kind]) ** 2 / (left[kind] + right[kind]) for kind in kinds) / (len(kinds) - 1)


def many(transform: v2.Transform, image: Tensor) -> list[dict[str, Any]]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return [transform.make_params([image]) for _ in range(COUNT)]


@pytest.mark.parametrize(("size", "scale"), [((32, 32), 0.3), ((20, 32), 0.4), ((8, 8), 0.08)])
def test_crops(draw: Callable[[int, int], Tensor], size: tuple[int, int], scale: float) -> None:
    image = torch.zeros(3, *size, dtype=torch.uint8)
    theirs = many(v2.RandomResizedCrop(size, scale=(scale, 1.0), ratio=(1.0, 1.0)), image)
    boxes = crop_boxes(draw(COUNT, CROP_WORDS), size, scale)
    for column, name in enumerate(("top", "left", "height", "width")):
        assert distance(boxes[:, column].tolist(), [box[name] for box in theirs]) < FAR, name
    assert (boxes[:, :2] >= 0).all()
    assert (boxes[:, 0] + boxes[:, 2]).max() == size[0]
    assert (boxes[:, 1] + boxes[:, 3]).max() == size[1]


def test_ten_squares_that_do_not_fit_give_the_middle() -> None:
    tall = crop_boxes(torch.full((1, CROP_WORDS), 2**32 - 1), (40, 10), 0.9)
    assert tall.tolist() == [[15, 0, 10, 10]]


@pytest.mark.parametrize("strength", [0.2, 1.0])
def test_jitter(draw: Callable[[int, int], Tensor], strength: float) -> None:
    theirs = many(v2.ColorJitter(strength, strength, strength), torch.zeros(3, 4, 4, dtype=torch.uint8))
    orders, factors = jitter_factors(draw(COUNT, JITTER_WORDS), strength)
    for column, name in enumerate(("brightness", "contrast", "saturation")):
        assert distance(factors[:, column].tolist(), [each[f"{name}_factor"] for each in theirs]) < FAR, name
    drawn = Counter(ORDERS[order] for order in orders.tolist())
    expected = Counter(tuple(change for change in each["fn_idx"].tolist() if change < 3) for each in theirs)
    # 5 degrees of freedom: 5.2 of each is passed once in 10,000 tests.
    assert chi_square(drawn, expected) < 5.2


@pytest.mark.parametrize("size", [(32, 32), (20, 32), (8, 8)])
def test_erasing(draw: Callable[[int, int], Tensor], size: tuple[int, int]) -> None:
    image = torch.zeros(3, *size, dtype=torch.uint8)
    theirs = [box for box in many(v2.RandomErasing(1.0), image) if box["v"] is not None]
    boxes = erased_boxes(draw(COUNT, ERASING_WORDS), size, 1.0)
    assert abs(int((boxes[:, 2] > 0).sum()) - len(theirs)) <= 5
    for column, name in enumerate("ijhw"):
        assert distance(boxes[:, column].tolist(), [box[name] for box in theirs]) < FAR, name
    assert (boxes[:, 0] + boxes[:, 2]).max() == size[0]
    assert (boxes[:, 1] + boxes[:, 3]).max() == size[1]


def test_erasing_hits_as_many_images_as_asked(draw: Callable[[int, int], Tensor]) -> None:
    hit = int((erased_boxes(draw(COUNT, ERASING_WORDS), (32, 32), 0.2)[:, 2] > 0).sum())
    assert abs(hit - 0.2 * COUNT) < 4 * math.sqrt(COUNT * 0.2 * 0.8)
    assert not erased_boxes(draw(COUNT, ERASING_WORDS), (32, 32), 0.0).any()


class _Recording(v2.RandAugment):
    """Notes what it would do, and does nothing."""

    def __init__(self, seen: Counter[tuple[str, bool]]) -> None:
        super().__init__(num_ops=1, magnitude=12)
        self.seen = seen

    def _apply_image_or_video_transform(self, image: Any, transform_id: str, magnitude: float, **_: Any) -> Any:
        self.seen[transform_id, magnitude < 0] += 1
        return image


def test_randaugment(draw: Callable[[int, int], Tensor]) -> None:
    theirs: Counter[tuple[str, bool]] = Counter()
    transform, image = _Recording(theirs), torch.zeros(3, 4, 4, dtype=torch.uint8)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for _ in range(COUNT):
            transform(image)
    signed = {name for name, negative in theirs if negative}
    kinds, signs = choose(draw(COUNT, 1)[:, 0])
    ours: Counter[tuple[str, bool]] = Counter()
    for kind, sign in zip(kinds.tolist(), signs.tolist(), strict=True):
        name = list(OPERATIONS)[kind]
        ours[name, name in signed and sign < 0] += 1
    # 22 degrees of freedom: 2.6 of each is passed once in 10,000 tests.
    assert chi_square(ours, theirs) < 2.6
    assert len(theirs) == 23
