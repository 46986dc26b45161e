"""`load`: dense weights from a file, and how long each part took."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file as load_safetensors

from pemn_compress.loading import load_file
from pemn_formats.content import Content, MaskedTensor, Prototype
from pemn_formats.writer import write


def raw(tensor: torch.Tensor) -> bytes:
    """The bytes of a tensor of any dtype."""
    return tensor.reshape(-1).view(torch.uint8).numpy().tobytes()


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_to_writes_what_load_file_gives(dtype: str, digits_file: Path, tmp_path: Path, run: Callable[..., Any]) -> None:
    out = tmp_path / "dense.safetensors"
    result = run("load", digits_file, "--dtype", dtype, "--to", out)
    assert result.code == 0, result.err
    written, expected = load_safetensors(out), load_file(digits_file, dtype=getattr(torch, dtype))
    assert written.keys() == expected.keys()
    for name, tensor in expected.items():
        assert written[name].dtype == tensor.dtype
        assert raw(written[name]) == raw(tensor)
    with safe_open(out, "pt") as file:
        assert file.metadata() == {"format": "pt"}


def test_report(digits_file: Path, run: Callable[..., Any]) -> None:
    report = json.loads(run("load", digits_file, "--json").out)
    times = report["seconds"]
    assert times["total"] == pytest.approx(times["reading"] + times["decoding"] + times["rebuilding"])
    assert all(value > 0 for value in times.values())
    assert report["file_bytes"] == digits_file.stat().st_size
    assert report["tensors"] == len(load_file(digits_file))
    assert (report["device"], report["dtype"], report["written"]) == ("cpu", "float32", None)


def test_text(digits_file: Path, run: Callable[..., Any]) -> None:
    result = run("load", digits_file)
    assert [line.split()[0] for line in result.out.splitlines()] == ["reading", "decoding", "rebuilding", "total"]
    assert result.err == ""


def test_tied_weights_are_written_under_both_names(tmp_path: Path, run: Callable[..., Any]) -> None:
    path, out = tmp_path / "tied.pemn", tmp_path / "tied.safetensors"
    tensor = MaskedTensor("a.weight", (2, 2), 0, 0, "keep", np.float32(1), planes=(np.array([6], np.uint8),))
    prototypes = (Prototype(3, "signed"),)
    write(path, Content(seed=1, prototypes=prototypes, masked=(tensor,), aliases={"b.weight": "a.weight"}))
    assert run("load", path, "--to", out).code == 0
    written = load_safetensors(out)
    assert torch.equal(written["a.weight"], written["b.weight"])


def test_a_task_of_several(bundle_file: Path, digits_file: Path, tmp_path: Path, run: Callable[..., Any]) -> None:
    refused = run("load", bundle_file)
    assert refused.code == 1
    assert "first, second" in refused.err
    written = {}
    for task in ("first", "second"):
        assert run("load", bundle_file, "--task", task, "--to", tmp_path / f"{task}.safetensors").code == 0
        written[task] = load_safetensors(tmp_path / f"{task}.safetensors")
    alone = load_file(digits_file)
    assert all(torch.equal(written["first"][name], tensor) for name, tensor in alone.items())
    assert not all(torch.equal(written["second"][name], tensor) for name, tensor in alone.items())


@pytest.mark.parametrize("device", ["tpu", "cuda:99", "cuda:x"])
def test_a_device_that_is_not_there(device: str, digits_file: Path, assert_fails: Callable[..., str]) -> None:
    assert device in assert_fails(1, "load", digits_file, "--device", device)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda_writes_the_same_bytes(digits_file: Path, tmp_path: Path, run: Callable[..., Any]) -> None:
    outs = [tmp_path / "cpu.safetensors", tmp_path / "cuda.safetensors"]
    for device, out in zip(("cpu", "cuda"), outs, strict=True):
        assert run("load", digits_file, "--device", device, "--to", out).code == 0
    assert outs[0].read_bytes() == outs[1].read_bytes()
