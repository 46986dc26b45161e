from __future__ import annotations

import numpy as np
import pytest

from pemn_compress.train.schedule import learning_rate
from pemn_formats.errors import PemnError


@pytest.mark.parametrize(("epochs", "steps"), [(100, 88), (5, 7), (1, 1), (3, 1)])
def test_piecewise_is_the_references_interpolation(epochs: int, steps: int) -> None:
    peak = 0.05
    for step in range(epochs * steps):
        epoch = (step + 1) / steps
        expected = np.interp(epoch, [0, epochs * 2 / 5, epochs * 4 / 5, epochs], [0, peak, peak / 20, 0])
        assert learning_rate("piecewise", peak, step, steps, epochs) == pytest.approx(expected, abs=1e-12)


def test_cosine_rises_to_the_peak_then_falls_and_never_reaches_zero() -> None:
    rates = [learning_rate("cosine", 0.1, step, 10, 20) for step in range(200)]
    top = int(np.argmax(rates))
    assert top == 9
    assert max(rates) == pytest.approx(0.1, rel=1e-3)
    assert all(np.diff(rates[:10]) > 0)
    assert all(np.diff(rates[10:]) < 0)
    assert 0 < rates[-1] < 1e-4


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_a_run_of_few_steps_still_learns(steps: int) -> None:
    assert all(learning_rate("cosine", 0.1, step, steps, 1) > 0 for step in range(steps))


def test_an_unknown_schedule_is_refused() -> None:
    with pytest.raises(PemnError, match=r"schedule must be one of piecewise, cosine, found 'step'"):
        learning_rate("step", 0.1, 0, 1, 1)
