from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from recorder import Recorder, assert_same

from pemn_compress.train.config import TrainConfig
from pemn_compress.train.job import resume, start
from pemn_compress.train.mixing import Mixing
from pemn_compress.train.run import RunFolder
from pemn_compress.train.run_config import RunConfig

IMAGES = torch.arange(6.0).reshape(6, 1, 1, 1).expand(6, 3, 64, 64).contiguous()
LABELS = torch.tensor([0, 1, 2, 0, 1, 2])


def test_nothing_is_mixed_unless_asked() -> None:
    images, labels = Mixing(TrainConfig(), 3)(IMAGES, LABELS, 0)
    assert images is IMAGES
    assert labels is LABELS


@pytest.mark.parametrize("kind", ["mixup", "cutmix"])
def test_labels_are_mixed_in_the_proportion_of_the_pixels(kind: str) -> None:
    mixing = Mixing(TrainConfig(**{kind: 1.0}), 3)  # type: ignore[arg-type]
    shares = []
    for step in range(300):
        images, targets = mixing(IMAGES, LABELS, step)
        partner = IMAGES.roll(1, 0)
        share = float(targets[0, 0])
        shares.append(share)
        torch.testing.assert_close(targets.sum(1), torch.ones(6))
        torch.testing.assert_close(targets[range(6), LABELS], torch.full((6,), share))
        mean = share * IMAGES.mean((1, 2, 3)) + (1 - share) * partner.mean((1, 2, 3))
        torch.testing.assert_close(images.mean((1, 2, 3)), mean)
        if kind == "cutmix":
            assert bool(((images == IMAGES) | (images == partner)).all())
    # Beta(1, 1) is uniform: its mean is 1/2, and that of 300 draws lies within 4 standard errors, 0.067. A box around a
    # uniform centre is cut at the edges: of a side s there remain s - s^2 / 4 on average, so the share that is kept has
    # the mean 1 - E[(s - s^2 / 4)^2] = 0.68 for a uniform s^2.
    wanted = 0.5 if kind == "mixup" else 0.68
    assert sum(shares) / 300 == pytest.approx(wanted, abs=0.07)
    assert max(shares) > 0.95
    assert min(shares) < 0.3


def test_mixing_is_a_function_of_seed_and_step_alone() -> None:
    def shares(seed: int, draw: int) -> list[float]:
        torch.manual_seed(draw)
        before = torch.get_rng_state()
        mixing = Mixing(TrainConfig(mixup=0.4, seed=seed), 3)
        found = [float(mixing(IMAGES, LABELS, step)[1][0, 0]) for step in range(8)]
        assert torch.get_rng_state().equal(before)
        return found

    assert shares(0, 1) == shares(0, 2)
    assert shares(0, 1) != shares(1, 1)
    assert len(set(shares(0, 1))) == 8


def test_parts_of_a_batch_draw_what_the_whole_draws() -> None:
    mixing = Mixing(TrainConfig(cutmix=1.0, mixup=0.3), 3)
    for step in range(20):
        whole, _ = mixing(IMAGES, LABELS, step)
        part, _ = mixing(IMAGES[3:], LABELS[3:], step)
        torch.testing.assert_close(part[1:], whole[4:])


def test_with_both_each_takes_half_of_the_steps() -> None:
    mixing = Mixing(TrainConfig(cutmix=1.0, mixup=1.0), 3)
    pasted = 0
    for step in range(200):
        images, _ = mixing(IMAGES, LABELS, step)
        pasted += bool((images == images.round()).all())
    # 200 fair coins: 100 within 4 standard deviations of 7.1.
    assert abs(pasted - 100) < 29


def test_a_run_that_mixes_resumes_to_the_same_bits(tiny: RunConfig, tmp_path: Path) -> None:
    options = dataclasses.replace(tiny, train=dataclasses.replace(tiny.train, mixup=0.2, cutmix=1.0, amp="bfloat16"))
    whole = start(options, runs=tmp_path, name="whole")
    result = whole.train()
    assert result.validation is not None
    assert result.validation.accuracy > 40
    cut = start(options, runs=tmp_path, name="cut")
    with pytest.raises(KeyboardInterrupt):
        cut.train(Recorder(stop_in=2))
    resume(RunFolder.open(cut.run.path)).train()
    assert_same(whole.run, cut.run)
