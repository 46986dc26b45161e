from __future__ import annotations

import json
import math
from dataclasses import asdict

import numpy as np
import pytest
from forge import ROW, Forge
from hypothesis import given
from hypothesis import strategies as st
from samples import SAMPLES, contents, dense, masked_tensor, one_tensor, random_bits

from pemn_formats.content import Content, Prototype
from pemn_formats.errors import PemnError
from pemn_formats.ledger import Ledger, entropy_bits
from pemn_formats.reader import Reader
from pemn_formats.reconstruct import state
from pemn_formats.report import size_report
from pemn_formats.writer import encode


def ledger_of(data: bytes) -> Ledger:
    with Reader.open(data) as reader:
        return reader.ledger()


def check_sum(data: bytes) -> Ledger:
    ledger = ledger_of(data)
    parts = (ledger.prelude, ledger.manifest, ledger.chunk_table, ledger.prototypes, ledger.masks, ledger.residual)
    assert sum(parts) == ledger.file_bytes == len(data)
    assert ledger.header == sum(parts[:3])
    forge = Forge.of(data)
    stored = [sum(len(piece.data) for piece in pieces) for pieces in forge.sections]
    assert stored == list(parts[3:])
    assert ledger.chunk_table == ROW.size * sum(map(len, forge.sections))
    assert sum(ledger.residual_by_kind.values()) == forge_residual(data)
    return ledger


def forge_residual(data: bytes) -> int:
    with Reader.open(data) as reader:
        return reader.manifest.residual_bytes


@pytest.mark.parametrize("name", [name for name in SAMPLES if name != "patch"])
def test_the_parts_of_every_sample_add_up_to_its_file(name: str) -> None:
    check_sum(encode(SAMPLES[name]()))


@given(contents())
def test_the_parts_of_any_file_add_up(content: Content) -> None:
    ledger = check_sum(encode(content))
    assert ledger.mask_weights == sum(tensor.numel for tensor in content.masked)
    assert json.loads(json.dumps(ledger.to_dict())) == ledger.to_dict()


def test_a_patch_has_no_ledger() -> None:
    with pytest.raises(PemnError, match=r"^the file is a delta of content [0-9a-f]{64}, no model"):
        ledger_of(encode(SAMPLES["patch"]()))


def dense_bytes(content: Content, float_bytes: int) -> int:
    """What the state dict takes with all its floats in so many bytes."""
    values = [each for name, each in state(content).items() if name not in content.aliases]
    return sum(each.size * (float_bytes if each.dtype.kind == "f" else each.itemsize) for each in values)


@pytest.mark.parametrize("name", [name for name in SAMPLES if name not in ("patch", "bundle")])
def test_the_dense_sizes_are_those_of_the_state(name: str) -> None:
    content = SAMPLES[name]()
    ledger = ledger_of(encode(content))
    assert ledger.dense_float32 == dense_bytes(content, 4)
    assert ledger.dense_float16 == dense_bytes(content, 2)


def test_figures_by_hand() -> None:
    bits = np.zeros(64, np.uint8)
    bits[:16] = 1
    content = Content(
        seed=0,
        prototypes=(Prototype(10, "float32", np.ones(10, "<f4")),),
        masked=(masked_tensor("w", (64,), bits),),
        residual=(
            dense("n", np.ones((2, 3)), "float16", "bn", 1e-5),
            dense("w.bias", [1.0, 2.0]),
            dense("other", [3.0]),
        ),
    )
    ledger = ledger_of(encode(content))
    assert ledger.prelude == 128
    assert ledger.chunk_table == 39
    assert (ledger.mask_weights, ledger.mask_ones) == (64, 16)
    assert ledger.shannon_bytes == pytest.approx(8 * (0.25 * 2 + 0.75 * math.log2(4 / 3)))
    assert ledger.bits_per_weight == ledger.masks / 8
    assert ledger.over_shannon == ledger.masks / ledger.shannon_bytes - 1
    assert ledger.residual_by_kind == {"batch norm": 12, "bias": 8, "other": 4}
    assert ledger.dense_float32 == 4 * (64 + 12 + 3) + 8
    assert ledger.dense_float16 == 2 * (64 + 12 + 3) + 8
    assert (ledger.paper_bytes, ledger.paper_dense) == (4 * 10 + 8, 256)
    assert ledger.ratio_float32 == ledger.dense_float32 / ledger.file_bytes
    assert ledger.ratio_float16 == ledger.dense_float16 / ledger.file_bytes
    assert ledger.paper_ratio == 256 / 48
    derived = {"header", "bits_per_weight", "over_shannon", "ratio_float32", "ratio_float16", "paper_ratio"}
    assert set(ledger.to_dict()) == set(asdict(ledger)) | derived


def test_nothing_masked_gives_no_division_by_zero() -> None:
    ledger = ledger_of(encode(SAMPLES["every_dtype"]()))
    assert (ledger.bits_per_weight, ledger.over_shannon, ledger.paper_ratio) == (0.0, 0.0, 0.0)
    constant = ledger_of(encode(SAMPLES["constant_masks"]()))
    assert (constant.shannon_bytes, constant.over_shannon) == (0.0, 0.0)
    assert constant.masks == 1


@given(st.integers(0, 5000), st.data())
def test_entropy_is_symmetric_and_at_most_one_bit(count: int, data: st.DataObject) -> None:
    ones = data.draw(st.integers(0, count))
    bits = entropy_bits(count, ones)
    assert 0 <= bits <= count * (1 + 1e-12)
    assert bits == pytest.approx(entropy_bits(count, count - ones))
    assert (bits == 0) == (ones in (0, count))


def convmixer(dim: int = 256, depth: int = 8) -> Content:
    """The names and shapes of ConvMixer-256/8 for ten classes: 18 masked tensors, 17 folded BatchNorms."""
    shapes = {"stem.0.weight": (dim, 3, 2, 2)}
    norms = ["stem.2"]
    for at in range(depth):
        shapes[f"blocks.{at}.0.fn.0.weight"] = (dim, 1, 5, 5)
        shapes[f"blocks.{at}.1.weight"] = (dim, dim, 1, 1)
        norms += [f"blocks.{at}.0.fn.2", f"blocks.{at}.3"]
    shapes["head.weight"] = (10, dim)
    values = random_bits(2 * dim, 0.5, 1).reshape(2, dim).astype(np.float32)
    return Content(
        seed=0,
        prototypes=(Prototype(251, "signed"),),
        masked=tuple(
            masked_tensor(name, shape, random_bits(math.prod(shape), 0.5, at), scale=np.float32(0.01 * (at + 1)))
            for at, (name, shape) in enumerate(shapes.items())
        ),
        residual=tuple(dense(name, values, "float16", "bn", 1e-5) for name in norms),
        architecture={
            "name": "convmixer",
            "args": {"classes": 10, "depth": depth, "dim": dim, "kernel": 5, "patch": 2},
        },
        input={
            "channels": 3,
            "classes": 10,
            "data": "cifar10",
            "mean": ["0.4914", "0.4822", "0.4465"],
            "size": [32, 32],
            "std": ["0.2471", "0.2435", "0.2616"],
        },
    )


def test_the_overhead_of_convmixer_is_at_most_a_thousand_bytes() -> None:
    content = convmixer()
    ledger = check_sum(encode(content))
    assert (len(content.masked), ledger.mask_weights) == (18, 581_120)
    assert ledger.header <= 1000
    assert ledger.over_shannon <= 0.03
    assert ledger.file_bytes <= 91_000


@pytest.mark.parametrize("scale", [np.float32(0.0625), None])
def test_the_overhead_of_a_hundred_tensors_is_at_most_fifteen_hundred_bytes(scale: np.float32 | None) -> None:
    """Fifty masked tensors with their BatchNorm, or their channel scales, of sizes and scales that all differ."""
    masked = [
        masked_tensor(
            f"layers.{at // 4}.{at % 4}.conv.weight",
            (16 + 8 * (at // 10), 8 + at // 5, 3, 3),
            random_bits((16 + 8 * (at // 10)) * (8 + at // 5) * 9, 0.5, at),
            scale=None if scale is None else np.float32(scale * (1 + at / 64)),
        )
        for at in range(50)
    ]
    residual = [
        dense(each.name, np.ones(each.shape[0]), "float16", "scale")
        if scale is None
        else dense(each.name.replace("conv.weight", "norm"), np.ones((2, each.shape[0])), "float16", "bn", 1e-5)
        for each in masked
    ]
    ledger = check_sum(encode(Content(0, (Prototype(251, "signed"),), tuple(masked), tuple(residual))))
    assert ledger.header <= 1500


def test_a_report_is_a_ledger_with_a_table(tmp_path: object) -> None:
    data = encode(one_tensor(1 << 14, bits=random_bits(1 << 14, 0.5, 1)))
    report = size_report(data)
    assert isinstance(report, Ledger)
    assert report.to_dict() == ledger_of(data).to_dict()
    lines = str(report).splitlines()
    assert [line.split()[0] for line in lines] == ["header", "prototypes", "masks", "residual", "file"]
    assert lines[2].split()[1:3] == ["2,048", "B"]
    assert lines[2].endswith("1.000 bits a weight, +0.00 % over Shannon")
    assert f"{len(data):,} B" in lines[-1]
    assert f"{report.ratio_float32:.1f}x under float32" in lines[-1]


def test_a_report_names_the_residual_and_checks_the_file() -> None:
    data = encode(SAMPLES["keep_tile"]())
    assert "batch norm 12, bias 10" in str(size_report(data))
    with pytest.raises(PemnError, match=r"^a chunk of the residual \(.*\) is damaged: its CRC-32 differs$"):
        size_report(data[:-1] + bytes([data[-1] ^ 1]))
