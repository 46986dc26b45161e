"""`inspect`: what is in a file, as a table and as JSON."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from pemn_formats.content import Content, MaskedTensor, Prototype
from pemn_formats.reader import Reader
from pemn_formats.writer import write


def test_json_says_what_the_file_says(digits_file: Path, run: Callable[..., Any]) -> None:
    result = run("inspect", digits_file, "--json")
    report = json.loads(result.out)
    assert (result.code, result.err) == (0, "")
    with Reader.open(digits_file) as reader:
        content = reader.content()
        assert report["content_id"] == reader.content_id()
    assert report["bytes"] == digits_file.stat().st_size
    assert report["architecture"]["name"] == "convmixer"
    assert report["input"]["size"] == [8, 8]
    assert report["prototypes"] == [{"length": 31, "source": "signed", "stored": False}]
    assert [each["name"] for each in report["masked"]] == [tensor.name for tensor in content.masked]
    assert [each["shape"] for each in report["masked"]] == [list(tensor.shape) for tensor in content.masked]
    assert [each["name"] for each in report["residual"]] == [entry.name for entry in content.residual]
    assert sum(report["chunks"]["masks"].values()) == 1


def test_density_is_the_fraction_of_ones(model_file: Path, run: Callable[..., Any]) -> None:
    report = json.loads(run("inspect", model_file, "--json").out)
    with Reader.open(model_file) as reader:
        for each in report["masked"]:
            tensor = reader.masked(each["name"])
            bits = np.unpackbits(tensor.planes[0], count=tensor.numel)
            assert each["density"] == bits.mean()


def test_table_names_everything(model_file: Path, run: Callable[..., Any]) -> None:
    out = run("inspect", model_file).out
    for words in ("conv.weight", "16x3x3x3", "head.bias", "from the seed", "tiled", "0.25", "not registered"):
        assert words in out


def test_channel_scales_shuffled_fills_and_ties_show(tmp_path: Path, run: Callable[..., Any]) -> None:
    from pemn_formats.content import ResidualTensor

    path = tmp_path / "odd.pemn"
    plane = np.array([0b1011], np.uint8)
    masked = MaskedTensor("a.weight", (2, 2), 0, 4, "sign", None, planes=(plane,))
    scale = ResidualTensor("a.weight", (2,), "scale", "float32", None, np.ones(2, np.float32))
    write(
        path,
        Content(
            seed=1,
            prototypes=(Prototype(3, "float32", np.ones(3, np.float32)),),
            masked=(masked,),
            residual=(scale,),
            aliases={"b.weight": "a.weight"},
            extra={"note": "hello"},
        ),
    )
    out = run("inspect", path).out
    for words in ("per channel", "shuffled", "b.weight", "is tied to a.weight", "in the file", "75.00 %", "note"):
        assert words in out


def test_a_bundle_shows_each_model(bundle_file: Path, run: Callable[..., Any]) -> None:
    out = run("inspect", bundle_file).out
    for words in ("architecture, first", "input, second", "first:head.weight", "second:head.weight"):
        assert words in out
    assert set(json.loads(run("inspect", bundle_file, "--json").out)["tasks"]) == {"first", "second"}
