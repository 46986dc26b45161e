"""`--from-disk`: training and measuring on images that stay in their files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pemn_compress.data import load
from pemn_compress.train.run import RunFolder

SMALL = ("--model", "mlp", "--model-arg", "hidden=8", "--model-arg", "depth=1", "--batch-size", 16, "--epochs", 2)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Ten classes, as the digits have, of grey pictures of noise, 8 x 8: six each to train on, three to test."""
    rng = np.random.default_rng(0)
    top = tmp_path / "photos"
    for part, count in (("train", 6), ("test", 3)):
        for label in range(10):
            (top / part / str(label)).mkdir(parents=True)
            for index in range(count):
                pixels = rng.integers(0, 256, (8, 8), dtype=np.uint8)
                Image.fromarray(pixels).save(top / part / str(label) / f"{index}.png")
    return top


def train(photos: Path, *options: object) -> tuple[object, ...]:
    return ("train", "--data", f"folder:{photos}", *SMALL, "--runs-dir", photos.parent / "runs", *options)


def test_a_run_from_disk_is_that_in_memory_and_exports(photos: Path, run: Any) -> None:
    found = {}
    for name, options in (("inside", ()), ("outside", ("--from-disk",))):
        result = run(*train(photos, "--flip", "--run", name, "--workers", 0, *options, "--json"))
        assert result.code == 0, result.err
        found[name] = {key: value for key, value in json.loads(result.out).items() if key not in ("run", "seconds")}
    assert found["inside"] == found["outside"]
    path = photos.parent / "runs" / "outside"
    assert RunFolder.open(path).options.from_disk
    exported = run("export", photos.parent / "out.pemn", "--run", path, "--json")
    assert json.loads(exported.out)["after"]["count"] == 30
    measured = run("eval", photos.parent / "out.pemn", "--data", f"folder:{photos}", "--from-disk", "--json")
    assert json.loads(measured.out)["loss"] == json.loads(exported.out)["after"]["loss"]


@pytest.mark.parametrize("split", ["test", "validation", "train"])
def test_eval_gives_what_it_gives_in_memory(split: str, photos: Path, digits_file: Path, run: Any) -> None:
    command = ("eval", digits_file, "--data", f"folder:{photos}", "--split", split, "--batch-size", 7, "--json")
    inside, outside = (json.loads(run(*command, *options).out) for options in ((), ("--from-disk",)))
    assert {**inside, "images_per_second": 0} == {**outside, "images_per_second": 0}


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
@pytest.mark.parametrize("workers", [0, 1])
def test_a_file_that_breaks_ends_the_run_in_one_line_and_it_goes_on_when_repaired(
    workers: int, photos: Path, run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = photos / "train" / "3" / "4.png"
    whole = file.read_bytes()
    file.write_bytes(whole[:50])  # the header is in order
    with monkeypatch.context() as patch:
        patch.setattr(load, "_mean_and_std", lambda images: (("0.5",) * 3, ("0.2",) * 3))
        done = run(*train(photos, "--run", "a", "--from-disk", "--workers", workers, "--randaugment", 1, 5))
    assert (done.code, done.out) == (1, "")
    announced, line = done.err.splitlines()
    assert announced.startswith("training ")
    path = photos.parent / "runs" / "a"
    assert line.startswith(f"error: {photos}: image train/3/4.png cannot be read (")
    assert line.endswith(f"; repair it, then resume with: pemn-compress train --resume {path}")
    file.write_bytes(whole)
    assert run("train", "--resume", path, "--workers", 0).code == 0


def test_what_is_left_out_is_named_after_a_line_that_says_what_takes_long(photos: Path, run: Any) -> None:
    (photos / "train" / "3" / "4.png").write_bytes(b"no picture")
    done = run(*train(photos, "--from-disk", "--skip-corrupt", "--workers", 0))
    assert done.code == 0, done.err
    said = done.err.splitlines()
    assert said[0] == "decoding every image once, to leave out those that cannot be read"
    assert said[1] == "skipped: train/3/4.png"


def test_a_run_goes_on_as_it_began(photos: Path, run: Any, assert_fails: Callable[..., str]) -> None:
    run(*train(photos, "--run", "a", "--workers", 0))
    path = photos.parent / "runs" / "a"
    line = assert_fails(1, "train", "--resume", path, "--from-disk")
    assert line.endswith("was started with from_disk False, found --from-disk True; leave it out or start another run")


def test_sets_that_are_no_files_are_refused(digits_file: Path, assert_fails: Callable[..., str]) -> None:
    refusal = "error: digits does not lie in image files; leave --from-disk (from_disk=True) out"
    assert assert_fails(1, "train", "--from-disk") == refusal
    assert assert_fails(1, "eval", digits_file, "--from-disk") == refusal
