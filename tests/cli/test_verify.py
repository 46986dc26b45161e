"""`verify`: OK for each sound file, and hashes that are the same everywhere."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pemn_compress.loading import load_file
from pemn_formats.reader import Reader


def test_ok_for_each_file(model_file: Path, digits_file: Path, run: Callable[..., Any]) -> None:
    result = run("verify", model_file, digits_file)
    assert (result.code, result.err) == (0, "")
    assert [line.split()[:2] for line in result.out.splitlines()] == [["OK", str(model_file)], ["OK", str(digits_file)]]


def test_one_bad_file_does_not_hide_the_others(
    model_file: Path, digits_file: Path, tmp_path: Path, run: Callable[..., Any]
) -> None:
    bad = tmp_path / "bad.pemn"
    bad.write_bytes(model_file.read_bytes()[:-1])
    result = run("verify", model_file, bad, tmp_path / "missing.pemn", digits_file)
    assert result.code == 3
    assert len(result.out.splitlines()) == 2
    assert [line.startswith("error: ") for line in result.err.splitlines()] == [True, True]
    report = json.loads(run("verify", model_file, bad, "--json").out)
    assert [each["ok"] for each in report["files"]] == [True, False]


def test_deep_hashes_are_those_of_the_tensors_that_torch_rebuilds(digits_file: Path, run: Callable[..., Any]) -> None:
    report = json.loads(run("verify", "--deep", "--json", digits_file).out)["files"][0]
    rebuilt = {
        name: hashlib.sha256(tensor.numpy().tobytes()).hexdigest() for name, tensor in load_file(digits_file).items()
    }
    assert report["tensors"] == rebuilt
    with Reader.open(digits_file) as reader:
        assert report["content_id"] == reader.content_id()
    lines = run("verify", "--deep", digits_file).out.splitlines()[1:]
    assert {name: digest for digest, name in (line.split() for line in lines)} == rebuilt


def test_a_bundle_has_the_hashes_of_its_models(bundle_file: Path, digits_file: Path, run: Callable[..., Any]) -> None:
    both, alone = (
        json.loads(run("verify", "--deep", "--json", path).out)["files"][0]["tensors"]
        for path in (bundle_file, digits_file)
    )
    assert {name: both[f"first:{name}"] for name in alone} == alone
    assert len(both) == 2 * len(alone)
