from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import recipes
from pemn_compress.data import DataSpec
from pemn_compress.plan import planned
from pemn_compress.plan.bytes_of_a_net import bytes_of_a_net
from pemn_compress.train.presets import PRESETS, resolve

SPEC = DataSpec("cifar10", 10, 3, (32, 32), ("0.5",) * 3, ("0.25",) * 3)
EVERY = [(budget, name) for budget, candidates in recipes.CANDIDATES.items() for name in candidates]


@pytest.mark.parametrize(("budget", "name"), EVERY)
def test_every_candidate_can_use_its_budget(budget: int, name: str) -> None:
    asked = resolve("default", {**recipes.CANDIDATES[budget][name], "budget": budget, "device": "cpu"})
    found = bytes_of_a_net(planned(asked, SPEC.to_input()), SPEC.to_input())
    assert found.fewest <= budget
    assert found.most >= 0.93 * budget


def test_presets_of_a_size_are_the_nets_that_were_chosen() -> None:
    found = json.loads((recipes.RESULTS / "recipes.json").read_text())
    for budget, winner in found["winners"].items():
        preset = PRESETS[f"{int(budget) // 1000}kb"]
        (chosen,) = {
            (run["model_args"]["depth"], run["model_args"]["width"])
            for run in found["runs"]
            if (str(run["budget"]), run["candidate"]) == (budget, winner)
        }
        assert (preset["model"], preset["model_args"]) == ("resnet", dict(zip(("depth", "width"), chosen, strict=True)))
    assert found["winners"] == {str(size): name for size, name in recipes.winners(found["runs"]).items()}


def test_validation_accuracy_alone_chooses() -> None:
    def run(budget: int, candidate: str, validation: float, test: float) -> dict[str, object]:
        return {"budget": budget, "candidate": candidate, "validation_accuracy": validation, "test_accuracy": test}

    runs = [run(2, "a", 60, 99), run(2, "b", 61, 10), run(2, "a", 61, 99), run(1, "c", 5, 5)]
    assert recipes.winners(runs) == {1: "c", 2: "b"}


def test_runs_are_kept_and_not_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(recipes, "CANDIDATES", {2_000: {"small": {"model": "mlp", "model_args": {"hidden": 32}}}})
    arguments = ["--data", "digits", "--limit-train", "100", "--epochs", "1", "--out", str(tmp_path / "out.json")]
    recipes.main(arguments)
    first = json.loads((tmp_path / "out.json").read_text())
    assert first["winners"] == {"2000": "small"}
    assert first["runs"][0]["code"] == first["environment"]["code"]
    assert "small *" in capsys.readouterr().out
    recipes.main(arguments)
    assert json.loads((tmp_path / "out.json").read_text())["runs"] == first["runs"]
    assert capsys.readouterr().out == ""
