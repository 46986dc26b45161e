"""Memory beside one tensor stays the same however many tensors there are: 384 MiB of weights in six."""

from __future__ import annotations

import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pemn_formats.content import Content, MaskedTensor, Prototype, ResidualTensor
from pemn_formats.reader import Reader
from pemn_formats.writer import content_id, write

SIDE, TENSORS = 1 << 12, 6
PACKED, DENSE = SIDE * SIDE // 8, SIDE * SIDE * 4
MIB = 1 << 20

MEASURED = """
import sys
from pathlib import Path
from pemn_cli.main import main
import torch, pemn_compress.dense_file, pemn_compress.loading

def held(field):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(field))

def call(path):
    try:
        main(["load", path, *sys.argv[3:]])
    except SystemExit as ended:
        assert not ended.code

call(sys.argv[1])  # what the first call alone takes: threads, code
before = held("VmRSS:")
call(sys.argv[2])
print(held("VmHWM:") - before, file=sys.stderr)
"""


def masks(tensors: int, side: int) -> Content:
    bits = np.resize(np.random.default_rng(3).integers(0, 256, 1 << 12, np.uint8), side * side // 8)
    masked = tuple(
        MaskedTensor(f"t{at}", (side, side), 0, 0, "keep", np.float32(0.5), planes=(bits,)) for at in range(tensors)
    )
    return Content(1, (Prototype(side * side, "signed"),), masked)


@pytest.fixture(scope="module")
def large_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("large") / "large.pemn"
    write(path, masks(TENSORS, SIDE), effort="fast")
    return path


@contextmanager
def traced() -> Iterator[Callable[[], int]]:
    """The most memory that was taken since the beginning of the block."""
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        yield lambda: tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()


def test_writing_holds_no_tensor_a_second_time(tmp_path: Path) -> None:
    values = np.resize(np.arange(1 << 18, dtype="<f4"), 1 << 24)  # 64 MiB
    plane = np.resize(np.arange(256, dtype=np.uint8), 1 << 25)  # 32 MiB
    residual = Content(1, (), (), (ResidualTensor("r", values.shape, "dense", "float32", None, values),))
    masked = MaskedTensor("w", (1 << 28,), 0, 0, "keep", np.float32(0.5), planes=(plane,))
    stored = Content(1, (Prototype(1 << 24, "float32", values),), (masked,))
    for content in (residual, stored):
        with traced() as peak:
            write(tmp_path / "out.pemn", content, effort="fast", force=True)
            assert peak() < 28 * MIB  # to code a chunk of a mask takes most of it
        with traced() as peak:
            found = content_id(content)
            assert peak() < 4 * MIB
        with traced() as peak, Reader.open(tmp_path / "out.pemn") as reader:
            assert reader.content_id() == found
            assert peak() < 8 * MIB + sum(each.stored_bytes for each in reader.manifest.prototypes)


def test_verify_deep_holds_one_tensor(large_file: Path, run: Callable[..., Any]) -> None:
    with traced() as peak:
        result = run("verify", "--deep", large_file)
        most = peak()
    assert (result.code, len(result.out.splitlines())) == (0, 1 + TENSORS)
    assert DENSE < most < PACKED + DENSE + 24 * MIB


def test_verify_inspect_and_size_report_hold_none(large_file: Path, run: Callable[..., Any]) -> None:
    for command in ("verify", "inspect", "size-report"):
        with traced() as peak:
            assert run(command, large_file).code == 0
            assert peak() < 16 * MIB


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs to know the most memory a process had")
def test_loading_takes_the_weights_and_converting_one_tensor(large_file: Path, tmp_path: Path) -> None:
    small, out = tmp_path / "small.pemn", tmp_path / "out.safetensors"
    write(small, masks(TENSORS, 64), effort="fast")
    packed = TENSORS * PACKED + large_file.stat().st_size

    def measured(*options: str) -> int:
        command = [sys.executable, "-c", MEASURED, str(small), str(large_file), *options]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        return int(done.stderr)

    assert TENSORS * DENSE < measured() < TENSORS * DENSE + packed + 64 * MIB
    assert DENSE < measured("--to", str(out), "--force") < 2 * DENSE
    assert out.stat().st_size > TENSORS * DENSE
