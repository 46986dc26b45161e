"""`plan`: nets for a budget, without training or data."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image


def test_the_table(run: Callable[..., Any]) -> None:
    result = run("plan", "--budget", "4KB", "--depth", "3", "--patch", "4")
    assert (result.code, result.err) == (0, "")
    title, _, header, row, _, basis = result.out.splitlines()
    assert title == "4,000 B for 32x32x3 images of 10 classes (cifar10)"
    assert header.split()[:5] == ["depth", "kernel", "patch", "dim", "weights"]
    assert header.split()[5:] == ["header", "masks", "residual", "at", "most", "can", "use"]
    assert row.split()[:3] == ["3", "5", "4"]
    assert row.endswith("fits")
    assert basis == "the order of depths is a rule of thumb, not measured; other families are not compared"


def test_the_parts_of_a_row_add_up_with_stored_values_too(run: Callable[..., Any]) -> None:
    stored = ("--strategy", "rp", "--values", 251, "--store", "vector")
    for options in ((), stored):
        found = run("plan", "--budget", "8KB", "--data", "digits", "--depth", 2, *options)
        _, _, header, *rows, _, _ = found.out.splitlines()
        assert ("  values  " in header) == (options == stored)
        for row in rows:
            *parts, most = [int(number.replace(",", "")) for number in re.findall(r"([\d,]+) B", row)]
            assert sum(parts) == most


def test_a_net_that_cannot_fit_uses_nothing(run: Callable[..., Any]) -> None:
    arguments = ("plan", "--budget", "4KB", "--data", "digits", "--dim", 300)
    assert run(*arguments).out.splitlines()[3].split()[-3:] == ["-", "too", "large"]
    found = json.loads(run(*arguments, "--json").out)["candidates"][0]
    assert (found["fits"], found["used"]) == (False, None)


def test_the_measured_net_of_about_the_size_is_named(run: Callable[..., Any]) -> None:
    last = run("plan", "--budget", "13KB", "--family", "resnet").out.splitlines()[-1]
    assert last.startswith("measured near 12.0 kB (12,000 B) on CIFAR-10: resnet, depth 14")
    assert "train --preset 12kb, or train --budget 13000 --model resnet --depth 14" in last
    assert json.loads(run("plan", "--budget", "13KB", "--json").out)["measured"]["preset"] == "12kb"
    for other in (("--budget", "20KB"), ("--budget", "12KB", "--data", "mnist"), ("--budget", "12KB", "--size", "96")):
        assert json.loads(run("plan", *other, "--patch", 4, "--depth", 3, "--json").out)["measured"] is None


@pytest.mark.parametrize("family", ["convmixer", "resnet", "vit", "mlp"])
def test_json_adds_up(run: Callable[..., Any], family: str) -> None:
    depth = "8" if family == "resnet" else "2"
    result = run("plan", "--budget", "6KiB", "--family", family, "--data", "digits", "--depth", depth, "--json")
    report = json.loads(result.out)
    assert report["budget"] == 6144
    for each in report["candidates"]:
        assert sum(each["ledger"].values()) == each["file_bytes"]
        assert each["sure"] == (each["file_bytes"] <= 6144)
        assert each["file_bytes_likely"] <= each["file_bytes"]


def test_images_of_ones_own(run: Callable[..., Any]) -> None:
    own = run("plan", "--budget", "9000", "--classes", 4, "--size", 48, "--channels", 1, "--depth", 2, "--json")
    assert json.loads(own.out)["input"]["size"] == [48, 48]
    resized = run("plan", "--budget", "9000", "--data", "mnist", "--size", 14, "--depth", 2, "--json")
    assert json.loads(resized.out)["input"]["size"] == [14, 14]


def test_options_of_masks_count(run: Callable[..., Any]) -> None:
    def least(*options: object) -> Any:
        arguments = ("plan", "--budget", "20KB", "--depth", 4, "--dim", 96, "--json", *options)
        return json.loads(run(*arguments).out)["candidates"][0]["file_bytes"]

    plain = least()
    assert least("--residual-dtype", "float16") > plain
    assert least("--int8-layers", "first") > plain
    assert least("--scale", "channel") > plain


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--budget", "200"], 1, "a budget of 200 B is too small for any convmixer on these images"),
        (["--budget", "8KB", "--data", "folder:x"], 1, "not known before it is read; give --classes and --size"),
        (["--budget", "8KB", "--data", "digits", "--channels", "3"], 1, "digits has 1 channels"),
        (["--budget", "8KB", "--classes", "3"], 1, "give their --size too"),
        (["--budget", "8K"], 2, "unknown unit 'K'"),
        ([], 2, "Missing option '--budget'"),
    ],
)
def test_refusals(assert_fails: Callable[..., str], arguments: list[str], code: int, message: str) -> None:
    assert message in assert_fails(code, "plan", *arguments)


def test_train_and_export_keep_a_budget(run: Callable[..., Any], tmp_path: Path) -> None:
    small = ("--limit-train", 200, "--epochs", 1, "--threads", 1, "--runs-dir", tmp_path, "--run", "r")
    trained = run("train", "--budget", "2KB", *small)
    assert trained.code == 0, trained.err
    assert trained.err.startswith(
        "trying mlp with 100 % of the steps, to see how small its masks code\ntrial epoch 1/1  "
    )
    assert re.search(r"\nfor 2,000 B: mlp, depth 2, hidden \d\d\n", trained.err)  # which one, training decides
    result = run("export", tmp_path / "m.pemn", "--runs-dir", tmp_path, "--no-eval")
    used = (tmp_path / "m.pemn").stat().st_size / 2_000
    assert f"budget      2,000 B, of which an export uses {100 * used:.1f} %\n" in trained.out
    assert result.code == 0, result.err
    assert "% of 2,000 B, the residual as" in result.out
    assert 1_940 <= (tmp_path / "m.pemn").stat().st_size <= 2_000
    failed = run("export", tmp_path / "n.pemn", "--runs-dir", tmp_path, "--no-eval", "--budget", "1KB")
    assert failed.code == 1
    assert "more than the budget of 1,000 B" in failed.err


@pytest.mark.parametrize(("chosen", "advised"), [(("--depth", 8), True), (("--width", 4), False)])
def test_train_names_the_measured_net_where_a_plan_chose(
    run: Callable[..., Any], tmp_path: Path, chosen: tuple[object, ...], advised: bool
) -> None:
    for place in (tmp_path / "images" / split / label for split in ("train", "test") for label in "ab"):
        place.mkdir(parents=True)
        for shade in range(8):
            Image.new("RGB", (32, 32), (32 * shade, 0, 0)).save(place / f"{shade}.png")
    small = ("--epochs", 1, "--threads", 1, "--runs-dir", tmp_path / "runs")
    data = ("--data", f"folder:{tmp_path / 'images'}", "--validation", 0.25)
    trained = run("train", *data, "--model", "resnet", *chosen, "--budget", "12KB", *small)
    assert trained.code == 0, trained.err
    assert ("measured near 12.0 kB" in trained.err) is advised


def test_what_leaves_a_budget_unused_is_said(run: Callable[..., Any], tmp_path: Path) -> None:
    small = ("--limit-train", 100, "--epochs", 1, "--threads", 1, "--runs-dir", tmp_path)
    given = ("--model-arg", "hidden=64", "--budget", "4KB")
    for name, option, reason in (
        ("a", (), "the net fits whatever its masks are"),
        ("b", ("--rate", 0.1), "the net would fit without --rate, which made its masks smaller still"),
        ("c", ("--learner", "topk"), "masks of a fixed density cannot be steered"),
    ):
        trained = run("train", *given, *option, *small, "--run", name)
        assert trained.code == 0, trained.err
        assert f" % ({reason})\n" in trained.out
        exported = run("export", tmp_path / f"{name}.pemn", "--run", name, "--runs-dir", tmp_path, "--no-eval")
        assert f"\n{reason}: a net about " in exported.out


def test_train_says_when_no_epoch_fits(run: Callable[..., Any], tmp_path: Path) -> None:
    small = ("--limit-train", 100, "--epochs", 1, "--threads", 1, "--runs-dir", tmp_path, "--run", "r")
    trained = run("train", "--model-arg", "hidden=64", "--budget", "1650", *small)
    assert trained.code == 0, trained.err
    assert "budget      1,650 B, which no epoch's file fits" in trained.out
    assert "next" not in trained.out
    warning = trained.err.splitlines()[-1]
    assert warning.startswith(
        "warning: no epoch's file fits the budget of 1,650 B, and export will refuse it; train for"
    )
    again = json.loads(run("train", "--resume", tmp_path / "r", "--json").out)
    assert again["fits"] is False
    enough = warning.partition("with a budget of ")[2].split()[0].replace(",", "")
    for budget, code in ((int(enough) - 1, 1), (int(enough), 0)):
        refused = run("export", tmp_path / "m.pemn", "--run", tmp_path / "r", "--no-eval", "--budget", budget)
        assert refused.code == code, refused.err
