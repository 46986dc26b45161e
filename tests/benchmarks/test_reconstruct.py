"""Reconstruction is measured in small, and the kernels of training say what they need."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import fused_masks, reconstruct
from pemn_compress import PemnError


def test_every_case_is_compared_and_timed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    reconstruct.main(["--device", "cpu", "--weights", "5000", "--repeats", "2", "--out", str(tmp_path / "a.json")])
    found = json.loads((tmp_path / "a.json").read_text())
    assert found["device"] == "cpu"
    assert set(found["cases"]) == set(reconstruct.cases(1))
    for case in found["cases"].values():
        assert set(case) == set(reconstruct.DTYPES)
        for name, result in case.items():
            assert set(result["seconds"]) == {"whole", "torch", "numpy", "copy"}
            assert result["bytes"] == 2 * 4096 * (4 if name == "float32" else 2)
    assert "of copy" in capsys.readouterr().out


def test_other_bytes_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reconstruct, "fill_weights_", lambda *_: None)
    with pytest.raises(PemnError, match="whole gives other bytes than numpy for float16"):
        reconstruct.main(["--device", "cpu", "--weights", "5000", "--repeats", "1", "--dtypes", "float16"])


def test_fused_masks_say_what_they_need(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="fused_masks: the kernels need a CUDA device and Triton, found cpu"):
        fused_masks.main(["--device", "cpu"])
    assert capsys.readouterr().out == ""
