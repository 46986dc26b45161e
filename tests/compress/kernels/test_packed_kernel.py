from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from pemn_compress.kernels import packed
from pemn_compress.packed_expand import dense_weight
from pemn_compress.packed_weight import PackedWeight, pack_weight
from pemn_formats.bits import pack
from pemn_formats.content import Content, MaskedTensor, Prototype, ResidualTensor

SEED = 0xDEADBEEFCAFE0001

# The largest relative error of a whole product: rounding of the output, and sums in another order.
TOLERANCE = {torch.float32: 1e-6, torch.float16: 1e-3, torch.bfloat16: 8e-3}


def weight(
    alphabet: str, length: int, shape: tuple[int, int], *, channels: bool = False, stored: bool = False
) -> PackedWeight:
    rng = np.random.default_rng(length)
    low = -1 if alphabet == "ternary" else 0
    code = rng.integers(low, 2, shape[0] * shape[1])
    planes = (pack(code != 0), pack(code[code != 0] < 0)) if low else (pack(code != 0),)
    kept = int(np.count_nonzero(code)) if low else None
    scale = None if channels else np.float32(0.037)
    tensor = MaskedTensor("w", shape, 0, 0, alphabet, scale, kept, planes=planes)
    scales = rng.normal(size=shape[0]).astype(np.float32)
    residual = (ResidualTensor("w", scales.shape, "scale", "float32", values=scales),) if channels else ()
    prototype = Prototype(length, "signed")
    if stored:
        prototype = Prototype(length, "float16", rng.choice([-1.0, 1.0], length).astype(np.float16))
    return pack_weight(Content(SEED, (prototype,), (tensor,), residual), tensor)


def check(held: PackedWeight, batch: int, dtype: torch.dtype, device: str, *, bias: bool = False) -> None:
    held = held.to(device)
    outputs, columns = held.shape
    generator = torch.Generator().manual_seed(batch)
    rows = torch.randn(batch, columns, generator=generator).to(dtype).to(device)
    added = torch.randn(outputs, generator=generator).to(dtype).to(device) if bias else None
    scale = held.scale.view(torch.float32)
    what = (held.source, held.seed, held.stream, held.length)
    assert packed.supports(rows, held.source, held.length)
    found = packed.multiply(rows, held.keep, held.flip, held.values, scale, added, outputs, *what)
    dense = dense_weight(held.keep, held.flip, held.values, scale, (outputs, columns), *what, held.span)
    expected = rows.double() @ dense.double().T + (0 if added is None else added.double())
    assert found.shape == (batch, outputs)
    assert found.dtype == dtype
    assert float((found.double() - expected).norm() / expected.norm()) < TOLERANCE[dtype]


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize(
    ("alphabet", "length"), list(itertools.product(["keep", "sign", "ternary"], [1 << 20, 23, 1000]))
)
def test_products_equal_dense_ones(alphabet: str, length: int, batch: int, device: str) -> None:
    check(weight(alphabet, length, (40, 640)), batch, torch.float16, device)


@pytest.mark.parametrize("batch", [1, 2, 5])
@pytest.mark.parametrize("dtype", list(TOLERANCE))
def test_dtypes_channel_scales_and_bias(dtype: torch.dtype, batch: int, device: str) -> None:
    if dtype == torch.bfloat16 and batch == 5 and device == "cpu":
        pytest.skip("the interpreter's dot takes the bits of bfloat16 for integers; a device is needed")
    check(weight("keep", 1 << 20, (37, 128), channels=True), batch, dtype, device, bias=True)


@pytest.mark.parametrize(
    ("shape", "batch"), [((1, 32), 1), ((1, 32), 3), ((9, 96), 2), ((33, 160), 17), ((65, 32), 35), ((70, 544), 66)]
)
def test_ragged_sizes(shape: tuple[int, int], batch: int, device: str) -> None:
    check(weight("keep", 31, shape), batch, torch.float32, device)


def test_stored_signs_need_no_generator(device: str) -> None:
    held = weight("keep", 1 << 12, (8, 128), stored=True)
    assert held.source == "bits"
    check(held, 1, torch.float32, device)


def test_what_falls_back(device: str) -> None:
    rows = torch.zeros(4, 96, device=device)
    assert packed.supports(rows, "ones", 0)
    assert not packed.supports(rows, "signed", 0)  # not whole generator blocks
    assert not packed.supports(rows, "values", 5)
    assert not packed.supports(rows.double(), "ones", 0)
    assert not packed.supports(rows[:, :40], "bits", 5)
    assert not packed.supports(rows[:0], "ones", 0)
    assert packed.supports(rows[:1].expand(65_535 * 16, -1), "ones", 0)
    assert not packed.supports(rows[:1].expand(65_535 * 16 + 1, -1), "ones", 0)  # more programs than a launch has


@pytest.mark.parametrize("batch", [1, 3])
def test_nothing_is_read_or_written_outside(batch: int, device: str) -> None:
    """Operands inside poisoned buffers: the poison neither changes nor reaches the result."""
    held = weight("keep", 23, (9, 96), channels=True)
    assert held.keep is not None
    assert held.values is not None
    answers = []
    for poison in (0.0, float("nan")):
        rows = torch.full((batch * 96 + 64,), poison, device=device)
        rows[32:-32] = torch.linspace(-1, 1, batch * 96, device=device)
        byte = 255 if poison else 0
        planes = []
        for plane in (held.keep, held.values):
            guarded = torch.full((plane.numel() + 64,), byte, dtype=torch.uint8, device=device)
            guarded[32:-32] = plane.to(device)
            planes.append(guarded[32:-32])
        scale = torch.full((9 + 16,), poison, device=device)
        scale[8:-8] = held.scale.view(torch.float32).to(device)
        inner = rows[32:-32].view(batch, 96)
        what = (held.source, held.seed, held.stream, held.length)
        answers.append(packed.multiply(inner, planes[0], None, planes[1], scale[8:-8], None, 9, *what))
    assert torch.equal(*answers)
    assert bool(answers[0].isfinite().all())
