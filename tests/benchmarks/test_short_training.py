from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import readme_short, short_training
from pemn_compress.masking import masked_weights
from pemn_compress.train.building import build_model


def test_rows_are_trained_saved_loaded_and_summed_up(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out.json"
    small = ["--dim", "24", "--depth", "1", "--patch", "2", "--epochs", "1", "--limit-train", "100"]
    rows = ["dense", "default", "paper rp 1e-2"]
    short_training.main(["--data", "digits", *small, "--rows", *rows, "--seeds", "0", "1", "--out", str(out)])
    found = json.loads(out.read_text())
    assert found["data"]["train"] == 100
    assert [run["row"] for run in found["runs"]] == rows * 2
    assert [row["row"] for row in found["summary"]] == rows
    assert "paper rp 1e-2" in capsys.readouterr().out
    for run in found["runs"]:
        for name, file in run.get("files", {}).items():
            assert file["masked_weights_equal"], (run["row"], name)
            assert file["bytes"] < run["dense_float32_bytes"]
        if run["row"] != "dense":
            assert run["files"]["lossless"]["test_correct"] == run["test_correct"]
    assert [row["ratio"] == 1.0 for row in found["summary"]] == [True, False, False]


def test_a_row_measured_later_joins_those_that_are_held(tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    small = ["--data", "digits", "--dim", "24", "--depth", "1", "--epochs", "1", "--limit-train", "100", "--seeds", "0"]
    short_training.main([*small, "--rows", "default", "paper mp", "--out", str(out)])
    before = json.loads(out.read_text())["runs"]
    short_training.main([*small, "--rows", "paper full", "--out", str(out)])
    found = json.loads(out.read_text())
    assert [row["row"] for row in found["summary"]] == ["default", "paper full", "paper mp"]
    assert [found["runs"][0], found["runs"][2]] == before


def test_every_row_is_what_its_name_says(monkeypatch: pytest.MonkeyPatch) -> None:
    budget = short_training.Budget({"dim": 24, "depth": 1}, epochs=1, batch_size=32)
    configs = {row: short_training.config_of(row, 3, budget, "digits") for row in short_training.ROWS}
    assert configs["dense"].mask is None
    for row, config in configs.items():
        assert (config.train.epochs, config.train.batch_size, config.train.seed) == (1, 32, 3)
        assert not config.train.augments_each_image
        if config.mask is not None:
            assert config.mask.seed == 3
            assert config.mask.learner == ("topk" if row.startswith("paper") else "threshold")
    ratios = [config.mask and config.mask.ratio for config in configs.values()]
    assert ratios == [None, None, None, 1e-3, None, None, None, 1e-1, 1e-2, 1e-3]


def test_three_signs_agree_with_the_seed_that_the_readme_says() -> None:
    found = json.loads((short_training.RESULTS / "short_training.json").read_text())
    budget = short_training.Budget(**found["budget"])
    agree = {}
    for run in (run for run in found["runs"] if run["row"] == "rp 1e-3"):
        config = short_training.config_of("rp 1e-3", run["seed"], budget, "cifar10")
        model = build_model(config, {"size": [32, 32], "channels": 3, "classes": 10})
        masks = [weight for _, weight, _ in masked_weights(model)]
        assert max(weight.unmasked().numel() for weight in masks) == 2_304
        agree[run["seed"]] = all(len(weight.unmasked().sign().unique()) == 1 for weight in masks)
    assert agree == {0: False, 1: True}
    text = readme_short.short_training(found)
    kept = {row["row"]: row["file_bytes"] for row in found["summary"]}
    assert f"differ by {kept['default'] - kept['paper full']} of {kept['default']:,} B" in text
    assert "30.4 against 41.9 with seed 1" in text
