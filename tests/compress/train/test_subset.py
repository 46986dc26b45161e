from __future__ import annotations

import pytest
import torch

from pemn_compress.data import ImageSet
from pemn_compress.train.subset import stratified_subset
from pemn_formats.errors import PemnError


@pytest.fixture
def uneven() -> ImageSet:
    labels = torch.tensor([0] * 60 + [1] * 30 + [4] * 10)
    pixels = torch.arange(100, dtype=torch.uint8).reshape(100, 1, 1, 1)
    return ImageSet(pixels, labels)


@pytest.mark.parametrize("count", [2, 7, 10, 50, 99, 100])
def test_each_class_keeps_its_share(uneven: ImageSet, count: int) -> None:
    chosen = stratified_subset(uneven, count, seed=1)
    assert len(chosen) == count
    assert len(chosen.images.unique()) == count
    for label, size in ((0, 60), (1, 30), (4, 10)):
        assert abs(int((chosen.labels == label).sum()) - size * count / 100) <= 1


def test_the_seed_decides(uneven: ImageSet) -> None:
    first, again, other = (stratified_subset(uneven, 20, seed).images.flatten() for seed in (1, 1, 2))
    assert first.equal(again)
    assert not first.equal(other)


def test_a_larger_subset_contains_a_smaller_one(uneven: ImageSet) -> None:
    few, more = (set(stratified_subset(uneven, count, 1).images.flatten().tolist()) for count in (10, 40))
    assert few < more


def test_more_than_there_is_cannot_be_had(uneven: ImageSet) -> None:
    with pytest.raises(PemnError, match=r"limit_train is 101, but there are 100 training images"):
        stratified_subset(uneven, 101, 0)
