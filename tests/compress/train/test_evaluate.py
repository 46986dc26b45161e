from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from pemn_compress.data import DataSpec, ImageSet
from pemn_compress.train.check_model import check_model
from pemn_compress.train.evaluate import evaluate
from pemn_formats.errors import PemnError


class Always(nn.Module):
    """Answers one class with certainty `margin`."""

    def __init__(self, margin: float, classes: int = 3) -> None:
        super().__init__()
        self.answer = torch.tensor([margin, *[0.0] * (classes - 1)])

    def forward(self, images: Tensor) -> Tensor:
        return self.answer.repeat(len(images), 1)


@pytest.mark.parametrize("batch_size", [1, 7, 33, 100])
def test_counts_and_loss_do_not_depend_on_the_batch_size(images: ImageSet, spec: DataSpec, batch_size: int) -> None:
    found = evaluate(Always(1.0), images, spec, batch_size=batch_size)
    right, wrong = math.log(math.e + 2) - 1, math.log(math.e + 2)
    assert (found.correct, found.count) == (11, 33)
    assert found.accuracy == pytest.approx(100 / 3)
    assert found.loss == pytest.approx((right + 2 * wrong) / 3, rel=1e-6)


def test_the_models_mode_is_restored(images: ImageSet, spec: DataSpec) -> None:
    model = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(192), nn.Linear(192, 3)).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    evaluate(model, images, spec)
    assert model.training
    assert all(value.equal(before[name]) for name, value in model.state_dict().items())


def test_wrong_numbers_of_classes_are_named(images: ImageSet, spec: DataSpec) -> None:
    with pytest.raises(PemnError, match=r"the model returns \(33, 7\) for 33 images; expected \(33, 3\)"):
        evaluate(Always(1.0, classes=7), images, spec)
    with pytest.raises(PemnError, match=r"the model returns \(2, 7\) for 2 images; expected \(2, 3\)"):
        check_model(Always(1.0, classes=7), spec, torch.device("cpu"))


def test_a_model_that_does_not_take_the_images_is_named(spec: DataSpec) -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(10, 3))
    with pytest.raises(PemnError, match=r"the model does not take 3x8x8 images of toy: .*mat1 and mat2"):
        check_model(model, spec, torch.device("cpu"))


def test_no_images_are_refused(images: ImageSet, spec: DataSpec) -> None:
    with pytest.raises(PemnError, match=r"there are no images to evaluate on"):
        evaluate(Always(1.0), images.subset([]), spec)
