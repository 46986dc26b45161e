"""The examples in the docstrings and in the README run."""

from __future__ import annotations

import doctest
import importlib
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import pemn_compress

HERE = Path(pemn_compress.__file__).parent
README = Path(__file__).parents[2] / "README.md"
MODULES = sorted(
    ".".join(("pemn_compress", *path.relative_to(HERE).with_suffix("").parts))
    for path in HERE.rglob("*.py")
    if ">>> " in path.read_text("utf-8")
)


@pytest.mark.parametrize("module", MODULES)
def test_the_docstring_examples_hold(module: str) -> None:
    result = doctest.testmod(importlib.import_module(module))
    assert result.attempted > 0
    assert result.failed == 0


def test_examples_were_found() -> None:
    assert {"pemn_compress.masking", "pemn_compress.saving", "pemn_compress.data.load"} <= set(MODULES)


@pytest.mark.skipif(not README.exists(), reason="the sources are not here")
def test_the_lines_for_a_script_of_ones_own_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class MyNet(nn.Sequential):
        def __init__(self) -> None:
            super().__init__(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Flatten(), nn.Linear(8 * 36, 5))

    blocks = re.findall(r"^```python\n(.*?)^```$", README.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    assert len(blocks) == 3
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"MyNet": MyNet, "torch": torch}
    exec(blocks[0].replace('"cuda"', '"cpu"'), names)
    x = torch.randn(2, 3, 8, 8)
    plain, masked = names["plain"], names["model"].eval()
    assert type(plain[0]) is nn.Conv2d
    assert torch.allclose(plain(x), masked(x), atol=0.02)
    assert torch.equal(names["weights"]["3.weight"], masked[3].weight)
    names |= {"criterion": nn.functional.cross_entropy, "images": x, "labels": torch.tensor([0, 1])}
    exec(blocks[1], names)
    bits = names["loss"] - nn.functional.cross_entropy(masked(x), names["labels"])
    assert bits.item() == pytest.approx(10, abs=0.5)  # one bit a weight at the start
    assert all(score.grad is None for score in pemn_compress.mask_parameters(masked))
    names["loss"].backward()
    assert all(score.grad is not None for score in pemn_compress.mask_parameters(masked))
    exec(blocks[2], names)
    assert names["packed"][0].weight.dtype == torch.float16
    with torch.no_grad():
        assert torch.allclose(names["packed"].float()(x), plain(x), atol=0.02)
