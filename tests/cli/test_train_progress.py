"""What a run shows while it trains, on a terminal."""

from __future__ import annotations

import io
import sys

import pytest
from rich.console import Console

from pemn_cli.train_progress import Display
from pemn_compress.train.progress import EpochReport, StepReport


@pytest.mark.parametrize("width", [40, 60, 120])
def test_the_epoch_is_whole_on_a_terminal_of_any_width(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = io.StringIO()
    console = Console(file=seen, force_terminal=True, width=width, color_system=None)
    monkeypatch.setattr("pemn_cli.train_progress.stderr_console", lambda: console)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    measured = dict.fromkeys(("validation_loss", "test_loss", "test_accuracy"), None)
    before = EpochReport(
        1233, 0.3, 90.0, validation_accuracy=97.5, lr=0.1, density=0.5, densities={}, estimated_bytes=4_750,
        images_per_second=5e4, seconds=1.0, best=True, **measured,
    )  # fmt: skip
    with Display(2000, 1) as display:
        display.epoch(before)
        display.step(StepReport(epoch=1234, epochs=2000, step=5, steps=10, loss=0.25, images_per_second=54_321.0))
    assert "1234/2000 " in seen.getvalue()
    assert ("loss 0.250 acc 97.50 % density 0.500 4.8 kB" in seen.getvalue()) is (width == 120)


def test_another_training_than_the_run_is_marked(capsys: pytest.CaptureFixture[str]) -> None:
    measured = dict.fromkeys(("validation_loss", "test_loss", "test_accuracy"), None)
    report = EpochReport(
        1, 0.3, 90.0, validation_accuracy=97.5, lr=0.1, density=0.5, densities={}, estimated_bytes=4_750,
        images_per_second=5e4, seconds=1.0, best=True, **measured,
    )  # fmt: skip
    with Display(6, mark="trial") as display:
        display.epoch(report)
    line = "trial epoch 1/6  loss 0.300  validation 97.50 %  density 0.500  about 4,750 B  50,000 img/s\n"
    assert capsys.readouterr().err == line
