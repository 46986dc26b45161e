from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.optim.optimizer import register_optimizer_step_post_hook

from benchmarks import readme_reference, reference_baseline, reference_speed
from benchmarks.reference.layers import MaskedConv2d, MaskedLinear, share_values
from benchmarks.reference.net import conv_mixer
from pemn_compress.data import DataSpec, ImageSet, Splits
from pemn_compress.data.downloads import DOWNLOADS
from pemn_compress.masking import masked_weights
from pemn_compress.train.batches import TrainBatches
from pemn_compress.train.building import build_model
from pemn_compress.train.config import TrainConfig
from pemn_compress.train.loop import fit
from pemn_compress.train.presets import resolve
from pemn_compress.train.run_config import RunConfig

SPEC = DataSpec("cifar10", 10, 3, (8, 8), *DOWNLOADS["cifar10"].constants or ((), ()))
NET = {"dim": 20, "depth": 2, "kernel": 5, "patch": 2}
SMALL = ["--limit-train", "24", "--batch-size", "8", "--dim", "8", "--depth", "1", "--patch", "2", "--threads", "1"]
SMALL += ["--reference-workers", "0"]
LAYERS = (MaskedConv2d, MaskedLinear)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    generator = np.random.default_rng(0)
    for split, count in (("train", 30), ("test", 40)):
        for kind in ("cat", "dog"):
            place = tmp_path / "images" / split / kind
            place.mkdir(parents=True)
            for number in range(count):
                pixels = generator.integers(0, 256, (8, 8, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(place / f"{number}.png")
    return tmp_path / "images"


def paper_beside_plain(**options: object) -> tuple[RunConfig, nn.Module, nn.Module]:
    """The paper's preset, its net, and the reference's with the same values and scores."""
    config = resolve("paper", {"model_args": NET, "device": "cpu", **options})
    ours, plain = build_model(config, SPEC.to_input()), conv_mixer(**NET, classes=10)
    for layer, (name, weight, score) in zip(masked_layers(plain), masked_weights(ours), strict=True):
        assert layer.weight.shape == score.shape, name
        layer.weight.copy_(weight.unmasked())
        layer.scores.data.copy_(score.detach())
    return config, ours, plain


def masked_layers(net: nn.Module) -> list[MaskedConv2d | MaskedLinear]:
    return [module for module in net.modules() if isinstance(module, LAYERS)]


def test_the_plain_net_steps_as_the_papers_preset_does() -> None:
    _, ours, plain = paper_beside_plain(strategy="full")
    images = torch.randn(16, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(ours(images), plain(images))
    for net in (ours, plain):
        torch.autograd.backward(net(images).square().sum())
    for layer, (name, _, score) in zip(masked_layers(plain), masked_weights(ours), strict=True):
        assert layer.scores.grad is not None
        assert score.grad is not None
        scale = float(score.grad.abs().max())
        torch.testing.assert_close(layer.scores.grad, score.grad, rtol=1e-3, atol=1e-4 * scale, msg=name)


def watched_steps(
    net: nn.Module, images: ImageSet, config: TrainConfig
) -> tuple[list[Tensor], list[list[float]], dict[str, Tensor]]:
    """What a net gives and at which rates it is updated in each training step of a run, and the last scores."""
    outputs: list[Tensor] = []
    rates: list[list[float]] = []
    scores: dict[str, Tensor] = {}

    def look(optimizer: torch.optim.Optimizer, *_: object) -> None:
        rates.append([group["lr"] for group in optimizer.param_groups])
        scores.update({name: score.detach().clone() for name, _, score in masked_weights(net)})

    net.register_forward_hook(lambda net, _, output: outputs.append(output.detach()) if net.training else None)
    hook = register_optimizer_step_post_hook(look)
    try:
        fit(net, Splits(SPEC, images, images, images), config)  # goes back to its best epoch
    finally:
        hook.remove()
    return outputs, rates, scores


@pytest.mark.parametrize(
    "options",
    [
        {"strategy": "full"},
        {"strategy": "one-layer"},
        {"strategy": "mp"},
        {"ratio": 0.1},
        {"ratio": 0.1, "mode": "rand"},
    ],
    ids=["full", "one-layer", "mp", "rp copy", "rp rand"],
)
def test_a_run_takes_the_steps_of_the_plain_transcription(options: dict[str, object]) -> None:
    epochs, size = 5, 16
    config, ours, plain = paper_beside_plain(**options, epochs=epochs, batch_size=size)
    generator = torch.Generator().manual_seed(3)
    pixels = torch.randint(0, 256, (2 * size, 3, 8, 8), generator=generator, dtype=torch.uint8)
    images = ImageSet(pixels, torch.randint(0, 10, (2 * size,), generator=generator))

    outputs, rates, scores = watched_steps(ours, images, config.train)

    optimizer = torch.optim.AdamW(plain.parameters(), lr=0.05, weight_decay=0.005)
    nodes = [0, epochs * 2 // 5, epochs * 4 // 5, epochs], [0, 0.05, 0.05 / 20, 0]
    batches = TrainBatches(images, SPEC, config.train, torch.device("cpu"))
    assert len(outputs) == len(rates) == epochs * batches.steps == 10
    for step, (x, y) in enumerate(batch for epoch in range(epochs) for batch in batches.epoch(epoch)):
        rate = float(np.interp((step + 1) / batches.steps, *nodes))
        assert rates[step] == pytest.approx([rate], abs=1e-12), f"step {step}"
        optimizer.param_groups[0]["lr"] = rate
        optimizer.zero_grad()
        loss = nn.CrossEntropyLoss()(plain(x), y)
        torch.autograd.backward(loss)
        optimizer.step()
        assert float(nn.CrossEntropyLoss()(outputs[step], y)) == pytest.approx(loss.item(), rel=1e-4), f"step {step}"
    for layer, (name, score) in zip(masked_layers(plain), scores.items(), strict=True):
        torch.testing.assert_close(score, layer.scores.detach(), rtol=1e-3, atol=1e-4, msg=f"scores of {name}")


@pytest.mark.parametrize(("strategy", "ratio"), [("full", None), ("one-layer", None), ("mp", None), ("rp", 0.01)])
def test_layers_share_the_values_of_their_strategy(strategy: str, ratio: float | None) -> None:
    torch.manual_seed(0)
    net = conv_mixer(**NET, classes=10)
    share_values(net, strategy, ratio)
    values = [layer.weight.flatten() for layer in masked_layers(net)]
    depthwise, pointwise = (values[1], values[3]), (values[2], values[4])
    longest = max(values, key=len)
    assert depthwise[0].equal(depthwise[1]) == (strategy != "full")
    assert pointwise[0].equal(pointwise[1]) == (strategy != "full")
    nested = all(each.equal(longest[: len(each)]) for each in values)
    assert nested == (strategy in ("mp", "rp"))
    distinct = math.floor(len(longest) * ratio) + 1 if ratio else len(longest)
    assert len(longest.unique()) == distinct


def test_speeds_are_measured_in_turns_beside_the_reference(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "speed.json"
    rows = ["paper preset", "default recipe"]
    reference_speed.main(["--data", f"folder:{folder}", *SMALL, "--rows", *rows, "--rounds", "2", "--out", str(out)])
    found = json.loads(out.read_text())
    assert [row["row"] for row in found["rows"]] == ["reference", *rows]
    assert found["rows"][0]["times_the_reference"] == {"median": 1.0, "least": 1.0, "most": 1.0}
    assert all(row["images_per_second"]["least"] > 0 for row in found["rows"])
    assert set(found["input_images_per_second"]) == {"reference, PIL", "torchvision, tensors", "in batches"}
    assert "Input alone" in readme_reference.reference_speed(found)
    assert str(folder) not in out.read_text()
    assert "times the reference" in capsys.readouterr().out


def test_accuracies_stand_beside_the_references(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "accuracy.json"
    shared = ["--data", f"folder:{folder}", *SMALL, "--epochs", "2", "--out", str(out)]
    reference_baseline.main([*shared, "--seeds", "0", "--strategies", "full", "rp 1e-1"])
    reference_baseline.main([*shared, "--seeds", "0", "1", "--strategies", "rp 1e-1"])
    found = json.loads(out.read_text())
    assert [(row["strategy"], row["side"], row["seeds"]) for row in found["summary"]] == [
        ("full", "reference", 1),
        ("full", "paper preset", 1),
        ("full", "default", 1),
        ("rp 1e-1", "reference", 2),
        ("rp 1e-1", "paper preset", 2),
    ]
    assert all(len(run["epochs"]) == 2 for run in found["runs"])
    text = readme_reference.reference_baseline(found)
    assert "| rp 1e-1, paper preset |" in text
    by_side = {row["side"]: row["test_accuracy"]["mean"] for row in found["summary"] if row["strategy"] == "full"}
    apart = by_side["default"] - by_side["paper preset"]
    assert f"the default is {apart:+.1f} points over the paper's preset" in text
    found["summary"][-1]["test_points_over_reference"]["sd"] = 3.0  # of two seeds
    assert "would not show: 4.2 with `rp 1e-1`, elsewhere at most 0.0 points" in (
        readme_reference.reference_baseline(found)
    )
    assert str(folder) not in out.read_text()


def test_the_way_to_an_accuracy_ends_with_the_epoch_that_reaches_it() -> None:
    epochs = [{"validation_accuracy": each} for each in (20.0, 40.0, 35.0)]
    found = [reference_baseline.epochs_to(goal, {"epochs": epochs}) for goal in (20.0, 30.0, 41.0)]
    assert found == [1, 2, None]


def test_summing_up_again_counts_images_at_idle_speed_and_leaves_the_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "reference_baseline.json"
    kept = reference_baseline.RESULTS / out.name
    if not kept.exists():
        pytest.skip("not a checkout")
    before = json.loads(kept.read_text())
    out.write_text(json.dumps({**before, "summary": []}))
    reference_baseline.main(["--summarise", str(out)])
    after = json.loads(out.read_text())
    assert after == before
    speeds = reference_baseline.idle_speeds(after)
    assert reference_baseline.idle_speeds({**after, "reference_workers": 9}) == {}
    for row in after["summary"]:
        goal, images = row["validation_accuracy_to_reach"], row["images_to_reach"]
        assert goal == reference_baseline.GOALS[row["strategy"]]
        assert images["most"] <= 5 * after["data"]["train"]
        assert row["idle_seconds_to_reach"] == pytest.approx(images["mean"] / speeds[row["side"]], abs=0.06)
        assert row["last_validation_accuracy"]["least"] > goal
    assert "images to it" in capsys.readouterr().out
