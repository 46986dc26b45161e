"""What the command tests share: a way to run a command, and small files made without torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from pemn_cli.main import main
from pemn_formats.content import Content, MaskedTensor, Prototype, ResidualTensor
from pemn_formats.writer import write


@dataclass(frozen=True)
class Result:
    """How a command ended."""

    code: int
    out: str
    err: str


Run = Callable[..., Result]


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]) -> Run:
    """Run the command line in this process."""

    def call(*arguments: object) -> Result:
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            main([str(argument) for argument in arguments])
        captured = capfd.readouterr()
        assert isinstance(ended.value.code, int)
        return Result(ended.value.code, captured.out, captured.err)

    return call


@pytest.fixture
def assert_fails(run: Run) -> Callable[..., str]:
    """Run a command that must fail: the right code, nothing on stdout, one line on stderr, which is returned."""

    def call(code: int, *arguments: object) -> str:
        result = run(*arguments)
        assert result.code == code, result.err
        assert result.out == ""
        (line,) = result.err.splitlines()
        assert line.startswith("error: ")
        assert "internal error" not in line
        return line

    return call


def content(density: float = 0.5, *, stored: bool = False) -> Content:
    """A convolution and a linear layer with a BatchNorm and a bias between them."""
    rng = np.random.default_rng(7)

    def tensor(name: str, *shape: int) -> MaskedTensor:
        bits = rng.random(shape) < density
        plane = np.packbits(bits.reshape(-1), bitorder="little")
        return MaskedTensor(name, shape, 0, 0, "keep", np.float32(0.25), planes=(plane,))

    values = rng.standard_normal(7).astype(np.float32) if stored else None
    batch_norm = rng.standard_normal((2, 16)).astype(np.float16)
    bias = rng.standard_normal(10).astype(np.float16)
    return Content(
        seed=3,
        prototypes=(Prototype(7, "float32" if stored else "signed", values),),
        masked=(tensor("conv.weight", 16, 3, 3, 3), tensor("head.weight", 10, 16)),
        residual=(
            ResidualTensor("bn", (2, 16), "bn", "float16", np.float32(1e-5), batch_norm),
            ResidualTensor("head.bias", (10,), "dense", "float16", None, bias),
        ),
    )


@pytest.fixture(scope="session")
def trained_runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A runs folder: `masked`, a small ConvMixer after one epoch on digits, and `dense`, the same net without masks."""
    from pemn_compress.config import MaskConfig
    from pemn_compress.train.config import TrainConfig
    from pemn_compress.train.job import start
    from pemn_compress.train.run_config import RunConfig

    runs = tmp_path_factory.mktemp("trained") / "runs"
    for name, mask in (("dense", None), ("masked", MaskConfig(strategy="rp", values=31))):
        options = RunConfig(
            model="convmixer",
            model_args={"dim": 8, "depth": 1, "patch": 2, "kernel": 3},
            mask=mask,
            train=TrainConfig(epochs=1, device="cpu", batch_size=256),
        )
        start(options, runs=runs, name=name).train()
    return runs


@pytest.fixture(scope="session")
def digits_bytes(trained_runs: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The exported masked run."""
    from pemn_compress.export import export_run
    from pemn_compress.train.run import RunFolder

    path = tmp_path_factory.mktemp("exported") / "digits.pemn"
    export_run(RunFolder.open(trained_runs / "masked"), path, evaluate_on_test=False)
    return path.read_bytes()


@pytest.fixture
def digits_file(digits_bytes: bytes, tmp_path: Path) -> Path:
    """A file of a registered architecture with its input."""
    path = tmp_path / "digits.pemn"
    path.write_bytes(digits_bytes)
    return path


@pytest.fixture
def bundle_file(digits_file: Path, tmp_path: Path) -> Path:
    """Two models in one file: `first` is that of `digits_file`, `second` the same with another bias."""
    from dataclasses import replace

    from pemn_formats.bundle import join
    from pemn_formats.reader import read

    first = read(digits_file)
    *residual, last = first.residual
    second = replace(first, residual=(*residual, replace(last, values=last.values[::-1].copy())))
    path = tmp_path / "bundle.pemn"
    write(path, join({"first": first, "second": second}))
    return path


@pytest.fixture
def model_file(tmp_path: Path) -> Path:
    """A `.pemn` file of no registered architecture."""
    path = tmp_path / "model.pemn"
    write(path, content())
    return path
