import hashlib

import numpy as np
import pytest

from pemn_compress.data import holdout
from pemn_formats.errors import PemnError

LABELS = np.arange(1000) * 7 % 11 % 4


def test_golden_indices():
    _, held = holdout(LABELS, 0.1, seed=5)
    assert held[:8].tolist() == [16, 18, 26, 35, 44, 50, 58, 78]
    assert (
        hashlib.sha256(held.astype("<i8").tobytes()).hexdigest()
        == "8b6d273867e69444a231f6a9f3bfd357c6940b79138181042542344a2b38663f"
    )


@pytest.mark.parametrize("fraction", [0.05, 0.1, 0.25, 0.5, 0.99])
def test_each_class_gives_its_share(fraction):
    kept, held = holdout(LABELS, fraction, seed=0)
    assert sorted([*kept, *held]) == list(range(1000))
    assert (np.diff(kept) > 0).all()
    assert (np.diff(held) > 0).all()
    counts = np.bincount(LABELS)
    assert (np.abs(np.bincount(LABELS[held], minlength=4) - counts * fraction) <= 1).all()
    assert (np.bincount(LABELS[kept], minlength=4) >= 1).all()


def test_seeds_choose_differently_and_repeat():
    assert np.array_equal(holdout(LABELS, 0.1, 3)[1], holdout(LABELS, 0.1, 3)[1])
    assert not np.array_equal(holdout(LABELS, 0.1, 3)[1], holdout(LABELS, 0.1, 4)[1])


def test_the_choice_is_spread_over_the_images():
    _, held = holdout(np.zeros(10_000, dtype=np.int64), 0.5, seed=0)
    assert abs(held.mean() - 5_000) < 200


def test_zero_holds_nothing_out():
    kept, held = holdout(LABELS, 0, seed=0)
    assert kept.tolist() == list(range(1000))
    assert held.tolist() == []


def test_a_class_of_one_stays_and_a_class_of_two_gives_one():
    kept, held = holdout([0, 1, 1], 0.01, seed=0)
    assert 0 in kept
    assert len(held) == 1


@pytest.mark.parametrize("fraction", [-0.1, 1, 1.5, float("nan")])
def test_fractions_out_of_range_are_refused(fraction):
    with pytest.raises(PemnError, match=r"validation fraction is .*; expected 0 or more, and less than 1"):
        holdout(LABELS, fraction, 0)


def test_a_seed_out_of_range_is_refused():
    with pytest.raises(PemnError, match="seed"):
        holdout(LABELS, 0.1, -1)
