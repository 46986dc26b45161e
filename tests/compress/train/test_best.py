from __future__ import annotations

import pytest

from pemn_compress.train.best import is_better
from pemn_compress.train.evaluate import Evaluation


def evaluation(correct: int, loss: float) -> Evaluation:
    return Evaluation(accuracy=float(correct), correct=correct, count=100, loss=loss)


@pytest.mark.parametrize(
    ("correct", "loss", "admitted", "better"),
    [
        (81, 9.0, True, True),
        (79, 0.1, True, False),
        (80, 0.4, True, True),  # of equal accuracy the lower loss
        (80, 0.6, True, False),
        (80, 0.5, True, False),  # and then the earlier
        (99, 0.1, False, False),
    ],
)
def test_accuracy_decides_then_the_loss_then_the_earlier(
    correct: int, loss: float, admitted: bool, better: bool
) -> None:
    before = {"evaluations": {"validation": evaluation(80, 0.5).to_dict()}, "admitted": True}
    assert is_better(evaluation(correct, loss), before, "validation", admitted=admitted) is better
    assert is_better(evaluation(correct, loss), {}, "validation", admitted=admitted)
