"""Training through `torch.compile`, with the compiler that users get, learns what training without it learns."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from recorder import Recorder

from pemn_compress.config import MaskConfig
from pemn_compress.loading import load_model
from pemn_compress.masking import masked_weights
from pemn_compress.saving import save_model
from pemn_compress.train.evaluate import evaluate
from pemn_compress.train.job import start
from pemn_compress.train.run_config import RunConfig

CONVMIXER: dict[str, Any] = {"model": "convmixer", "model_args": {"dim": 8, "depth": 1, "kernel": 3, "patch": 2}}
WHOLE = {"batch_size": 50}  # 200 images: no smaller batch at the end, for which another graph would be compiled
CASES: dict[str, tuple[dict[str, Any], MaskConfig, dict[str, Any]]] = {
    "mlp": ({}, MaskConfig(strategy="rp"), {}),
    "convmixer, rate": (CONVMIXER, MaskConfig(), {"rate": 1.0, **WHOLE}),
    "topk, channel scale, ema, mixup": (
        {},
        MaskConfig(learner="topk", scale="channel"),
        {"ema": 0.9, "mixup": 0.2, **WHOLE},
    ),
}


@pytest.mark.slow
@pytest.mark.skipif(not (shutil.which("g++") or shutil.which("clang++")), reason="inductor wants a C++ compiler")
@pytest.mark.parametrize(("net", "mask", "recipe"), CASES.values(), ids=CASES)
def test_a_compiled_run_learns_what_a_plain_one_does(
    tiny: RunConfig, tmp_path: Path, net: dict[str, Any], mask: MaskConfig, recipe: dict[str, Any]
) -> None:
    losses, codes = [], []
    for compiled in (False, True):
        torch._dynamo.reset()
        torch._dynamo.utils.counters.clear()
        train = dataclasses.replace(tiny.train, **recipe, compile=compiled)
        watcher = Recorder()
        job = start(dataclasses.replace(tiny, **net, mask=mask, train=train), runs=tmp_path, name=f"run-{compiled}")
        result = job.train(watcher)
        assert bool(torch._dynamo.utils.counters["stats"]["unique_graphs"]) is compiled
        assert not torch._dynamo.utils.counters["graph_break"]
        losses.append([report.train_loss for report in watcher.epochs])
        codes.append(torch.cat([weight.code(score).flatten() for _, weight, score in masked_weights(job.model)]))
    assert losses[1][0] == pytest.approx(losses[0][0], rel=1e-3)
    assert losses[1] == pytest.approx(losses[0], rel=0.02)  # sums round otherwise, and then a bit falls the other way
    assert losses[1][-1] < losses[1][0]
    assert (codes[0] == codes[1]).float().mean() > 0.98
    save_model(job.model, tmp_path / "net.pemn", input=job.splits.spec.to_input(), lossless=True)
    assert evaluate(load_model(tmp_path / "net.pemn"), job.splits.test, job.splits.spec) == result.test
