from __future__ import annotations

import hashlib
import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from pemn_compress import rebuild
from pemn_compress.config import MaskConfig
from pemn_compress.masking import mask_, masked_weights
from pemn_formats import reconstruct as reference
from pemn_formats.bits import pack
from pemn_formats.content import Content, MaskedTensor, Prototype, ResidualTensor
from pemn_formats.errors import PemnError

gpu = pytest.param(
    "cuda", marks=[pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]
)
devices = pytest.mark.parametrize("device", ["cpu", gpu])

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
STRATEGIES: list[dict[str, object]] = [
    {"strategy": "full"},
    {"strategy": "one-layer"},
    {"strategy": "mp"},
    {"strategy": "rp", "values": 23},
    {"strategy": "rp", "ratio": 0.1, "mode": "rand"},
]


def net() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.ConvTranspose2d(8, 7, 3), nn.Flatten(), nn.Linear(29, 11))


def planes(code: np.ndarray, alphabet: str) -> tuple[np.ndarray, ...]:
    if alphabet != "ternary":
        return (pack(code),)
    return pack(code != 0), pack(code[code != 0] < 0)


def content_of(model: nn.Module, source: str = "seed") -> Content:
    """What saving a masked model stores of its masked weights."""
    found = masked_weights(model)
    config, plan = found[0][1].config, found[0][1].plan
    prototypes, masked, scales = [], [], []
    for stream, prototype in enumerate(plan.prototypes):
        if source == "seed":
            prototypes.append(Prototype(prototype.length, config.distribution))
        else:
            seeded = Prototype(prototype.length, config.distribution)
            values = reference.prototype_values(seeded, config.seed, stream, 0, prototype.length)
            prototypes.append(Prototype(prototype.length, source, values.astype(source)))
    for name, weight, score in found:
        code = weight.code(score).numpy().reshape(-1)
        learned = config.scale == "channel"
        masked.append(
            MaskedTensor(
                name=name,
                shape=tuple(score.shape),
                prototype=weight.fill.prototype,
                span=weight.fill.span,
                alphabet=config.alphabet,
                scale=None if learned else weight.fill.scale,
                kept=int(np.count_nonzero(code)) if config.alphabet == "ternary" else None,
                planes=planes(code, config.alphabet),
            )
        )
        if learned:
            values = weight.scale.detach().numpy()
            scales.append(ResidualTensor(name, values.shape, "scale", "float32", values=values))
    return Content(config.seed, tuple(prototypes), tuple(masked), tuple(scales))


def raw(tensor: torch.Tensor) -> bytes:
    held = tensor.detach().cpu().contiguous()
    return bytes(held.view(torch.uint8).numpy()) if held.dim() else b""


@devices
@pytest.mark.parametrize("scale", ["none", "tensor", "channel"])
@pytest.mark.parametrize("alphabet", ["keep", "sign", "ternary"])
@pytest.mark.parametrize("strategy", STRATEGIES, ids=lambda options: "-".join(map(str, options.values())))
def test_training_numpy_and_torch_agree_to_the_last_bit(
    strategy: dict[str, object], alphabet: str, scale: str, device: str
) -> None:
    for distribution, (source, learner) in itertools.product(
        ("signed", "uniform", "normal"), (("seed", "threshold"), ("float32", "topk"))
    ):
        config = MaskConfig(
            alphabet=alphabet,
            scale=scale,
            distribution=distribution,
            learner=learner,
            seed=0xDEADBEEFCAFE,
            **strategy,  # type: ignore[arg-type]
        )
        model = mask_(net(), config)
        if scale == "channel":
            with torch.no_grad():
                for _, weight, _ in masked_weights(model):
                    weight.scale.mul_(torch.linspace(-1.7, 1.3, weight.scale.numel()))
        content = content_of(model, source)
        for tensor, (name, weight, score) in zip(content.masked, masked_weights(model), strict=True):
            assert raw(weight(score)) == reference.reconstruct(content, tensor).tobytes(), name
            for dtype, torch_dtype in DTYPES.items():
                found = rebuild.reconstruct(content, tensor, device, torch_dtype)
                assert found.shape == tensor.shape
                assert found.dtype == torch_dtype
                assert found.device.type == device
                expected = reference.reconstruct(content, tensor, dtype)
                assert hashlib.sha256(raw(found)).digest() == hashlib.sha256(expected.tobytes()).digest()


@devices
def test_a_float16_prototype_is_read_as_stored(device: str) -> None:
    content = content_of(mask_(net(), MaskConfig(strategy="mp", distribution="uniform")), "float16")
    for tensor in content.masked:
        assert raw(rebuild.reconstruct(content, tensor, device)) == reference.reconstruct(content, tensor).tobytes()


@devices
@pytest.mark.parametrize("dtype", list(DTYPES))
def test_every_kind_of_float_is_rounded_as_numpy_rounds(device: str, dtype: str) -> None:
    """Subnormals, ties, overflow to infinity and both zeros go through the same rounding."""
    patterns = np.arange(0, 1 << 32, 65_521, dtype=np.uint64).astype(np.uint32)
    ties = (np.arange(0x3F80, 0x3FC0, dtype=np.uint32) << np.uint32(16)) | np.uint32(0x8000)
    values = np.concatenate([patterns, ties, ties & np.uint32(0xFFFFF000) | np.uint32(0x1000)]).view(np.float32)
    values = values[np.isfinite(values)]
    prototype = Prototype(values.size, "float32", values)
    mask = pack(np.ones(values.size, dtype=np.uint8))
    tensor = MaskedTensor("w", (values.size,), 0, 0, "sign", np.float32(1.0), planes=(mask,))
    content = Content(0, (prototype,), (tensor,))
    found = rebuild.reconstruct(content, tensor, device, DTYPES[dtype])
    assert raw(found) == reference.reconstruct(content, tensor, dtype).tobytes()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 1), max_size=70))
def test_bits_come_back(bits: list[int]) -> None:
    packed = torch.from_numpy(pack(np.array(bits, dtype=np.uint8)))
    assert rebuild.unpack_bits(packed, len(bits)).int().tolist() == bits


def test_read_only_arrays_of_a_file_are_fine() -> None:
    content = content_of(mask_(net(), MaskConfig(alphabet="ternary", scale="channel", strategy="mp")), "float32")
    arrays = [content.prototypes[0].values, content.residual[0].values, *content.masked[0].planes]
    for array in arrays:
        assert array is not None
        array.flags.writeable = False
    before = [array.tobytes() for array in arrays if array is not None]
    rebuild.reconstruct(content, content.masked[0])
    assert [array.tobytes() for array in arrays if array is not None] == before


def test_what_cannot_be_rebuilt() -> None:
    content = content_of(mask_(net(), MaskConfig(scale="channel")))
    with pytest.raises(PemnError, match=r"rebuilt as torch\.float32, .*found torch\.float64"):
        rebuild.reconstruct(content, content.masked[0], dtype=torch.float64)
    bare = Content(content.seed, content.prototypes, content.masked)
    with pytest.raises(PemnError, match=r"0\.weight has channel scales, but none are stored"):
        rebuild.reconstruct(bare, bare.masked[0])
