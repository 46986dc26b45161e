"""Two checkpoints of one training run: the update between them is smaller than either, and exact."""

from __future__ import annotations

import pytest
from torch import nn

import pemn_compress as pemn
from pemn_compress.data import load_data
from pemn_compress.models import build
from pemn_compress.saving import to_content
from pemn_compress.train.progress import EpochReport, Progress
from pemn_formats.content import Content
from pemn_formats.delta import apply_delta, make_delta
from pemn_formats.reader import read
from pemn_formats.writer import content_id, encode


class Kept(Progress):
    """The content of a model after every epoch."""

    def __init__(self, model: nn.Module) -> None:
        self.model, self.contents = model, list[Content]()

    def epoch(self, report: EpochReport) -> None:
        self.contents.append(to_content(self.model))


@pytest.mark.parametrize("alphabet", ["keep", "ternary"])
def test_the_update_is_smaller_than_either_file(alphabet: str) -> None:
    splits = load_data("digits", seed=0)
    model = build("mlp", hidden=64, depth=2, image=8, channels=1, classes=10)
    pemn.mask_(model, pemn.MaskConfig(strategy="rp", alphabet=alphabet))
    kept = Kept(model)
    recipe = pemn.TrainConfig(epochs=6, batch_size=64, device="cpu", threads=1)
    pemn.fit(model, splits, recipe, progress=kept)
    old, new = kept.contents[-2:]
    assert content_id(old) != content_id(new)
    patch = encode(make_delta(old, new))
    assert len(patch) < 0.8 * min(len(encode(old)), len(encode(new)))
    found = apply_delta(old, read(patch))
    assert content_id(found) == content_id(new)
    assert encode(found) == encode(new)
