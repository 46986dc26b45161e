"""Parameters held packed in any module, expanded when they are read: values, memory, and what torch does to modules."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import nn

import pemn_compress as pemn
from pemn_compress.loading import rebuild_model
from pemn_compress.models import build
from pemn_compress.packed_layers import PackedLinear, PackedTensor
from pemn_compress.packed_parameter import PackedParameter
from pemn_compress.saving import to_content
from pemn_formats.content import Content

DTYPES = (torch.float32, torch.float16, torch.bfloat16)
CONVOLUTIONS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "3x3": (lambda: nn.Conv2d(6, 8, 3, padding=1), (2, 6, 9, 7)),
    "depthwise": (lambda: nn.Conv2d(6, 6, 5, padding="same", groups=6, bias=False), (2, 6, 9, 7)),
    "grouped": (lambda: nn.Conv2d(6, 4, 3, stride=2, dilation=2, groups=2), (2, 6, 9, 7)),
    "grouped 1x1": (lambda: nn.Conv2d(6, 4, 1, groups=2), (2, 6, 9, 7)),
    "patches": (lambda: nn.Conv2d(3, 8, 4, stride=4), (1, 3, 12, 8)),
    "circular": (lambda: nn.Conv2d(6, 8, 3, padding=2, padding_mode="circular"), (2, 6, 9, 7)),
    "1d": (lambda: nn.Conv1d(6, 8, 3, stride=2, padding=1), (2, 6, 9)),
    "3d": (lambda: nn.Conv3d(2, 4, 3, padding=1), (1, 2, 5, 4, 3)),
    "transposed": (lambda: nn.ConvTranspose2d(6, 4, 3, stride=2, output_padding=1, groups=2), (2, 6, 5, 4)),
}


def content_of(model: nn.Module, **options: object) -> Content:
    return to_content(pemn.mask_(copy.deepcopy(model), pemn.MaskConfig(seed=5, **options)))  # type: ignore[arg-type]


def both(model: nn.Module, dtype: torch.dtype = torch.float32, **options: object) -> tuple[nn.Module, nn.Module]:
    content = content_of(model, **options)
    # torch folds a product's batch by whether the weight wants a gradient, which packed ones never do.
    dense = rebuild_model(content, into=copy.deepcopy(model), dtype=dtype).requires_grad_(False)
    return dense, rebuild_model(content, into=copy.deepcopy(model), dtype=dtype, packed=True)


def drawn(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(dtype)


def bytes_held(model: nn.Module) -> int:
    """Every storage counted once, whatever the number of names that it has."""
    held = (*model.parameters(), *model.buffers())
    return sum({tensor.untyped_storage().data_ptr(): tensor.nbytes for tensor in held if tensor.numel()}.values())


def attention_block() -> nn.TransformerEncoderLayer:
    return nn.TransformerEncoderLayer(32, 2, 64, dropout=0.0, batch_first=True)


class Crossed(nn.Module):
    """Attention whose keys and values are narrower than its queries, so that each has a projection of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(32, 4, kdim=16, vdim=8, batch_first=True)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.attention(inputs, inputs[..., :16], inputs[..., :8])[0]
        return out


class Selfish(nn.Module):
    """Self-attention, as torchvision's transformers call it."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(32, 4, batch_first=True)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.attention(inputs, inputs, inputs, need_weights=False)[0]
        return out


ATTENTION: dict[str, Callable[[], nn.Module]] = {
    "itself": Selfish,
    "crossed": Crossed,
    "encoder layer": lambda: nn.Sequential(attention_block()),
    "decoder": lambda: nn.TransformerEncoder(attention_block(), 2, enable_nested_tensor=False),
}


@torch.no_grad()
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", CONVOLUTIONS)
def test_convolutions_give_what_dense_ones_give(kind: str, dtype: torch.dtype) -> None:
    make, shape = CONVOLUTIONS[kind]
    inputs = drawn(*shape, dtype=dtype)
    for alphabet, scale in (("keep", "tensor"), ("ternary", "channel")):
        dense, packed = both(nn.Sequential(make()), dtype, alphabet=alphabet, scale=scale)
        layer = packed.get_submodule("0")
        assert isinstance(layer.parametrizations["weight"][0], PackedParameter)  # type: ignore[index]
        assert layer.weight.dtype == dtype
        assert torch.equal(packed(inputs), dense(inputs))


@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kind", ATTENTION)
def test_attention_gives_what_dense_attention_gives(kind: str, dtype: torch.dtype) -> None:
    dense, packed = both(ATTENTION[kind](), dtype)
    inputs = drawn(2, 5, 32, dtype=dtype)
    assert torch.equal(packed(inputs), dense(inputs))
    assert [name for name, held in packed.named_parameters() if held.dim() > 1] == []


@torch.no_grad()
@pytest.mark.parametrize("kind", ATTENTION)
def test_attention_expands_each_weight_once_a_pass(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    packed = both(ATTENTION[kind]())[1]
    parts = [part for part in packed.modules() if isinstance(part, PackedParameter)]
    made: list[PackedParameter] = []
    expand = PackedTensor.expand

    def counted(self: PackedParameter, dtype: torch.dtype = torch.float32) -> torch.Tensor:
        made.append(self)
        return expand(self, dtype)

    monkeypatch.setattr(PackedParameter, "expand", counted)
    packed(drawn(2, 5, 32))
    assert len(made) == len({id(part) for part in made}) == len(parts)
    assert all(part.held is None and not part.holds for part in parts)
    with pytest.raises((RuntimeError, AssertionError)):
        packed(drawn(2, 5, 31))
    assert all(part.held is None and not part.holds for part in parts)


@pytest.mark.parametrize(
    ("model", "size", "whole"),
    [
        (build("convmixer", dim=64, depth=3, kernel=5, patch=2, classes=10), 16, 6),
        (build("resnet", depth=8, width=32, classes=10), 16, 14),
        (build("vit", image=16, dim=128, depth=2), 16, 10),
        (nn.Sequential(nn.Flatten(2), nn.Linear(256, 256), nn.TransformerEncoderLayer(256, 4, 512)), 16, 13),
    ],
    ids=["convmixer", "resnet", "vit", "transformer"],
)
def test_whole_models_hold_a_bit_a_weight(model: nn.Module, size: int, whole: float) -> None:
    content = content_of(model)
    dense, packed = both(model, torch.float16)
    weights = sum(tensor.numel for tensor in content.masked)
    parts = [part for part in packed.modules() if isinstance(part, PackedTensor)]
    assert len(parts) == len(content.masked)
    assert sum(buffer.nbytes for part in parts for buffer in part.buffers()) <= 2 * weights / 14
    # What is not masked is as large as before; in such small nets it counts.
    assert bytes_held(packed) <= bytes_held(dense) - 2 * weights + 2 * weights / 14
    assert bytes_held(packed) < bytes_held(dense) / whole
    inputs = drawn(2, 3, size, size)
    with torch.no_grad():
        torch.testing.assert_close(packed.float()(inputs), both(model)[0](inputs), rtol=2e-2, atol=2e-2)


@torch.no_grad()
def test_a_weight_is_gone_after_its_pass() -> None:
    """Nothing that a forward pass leaves behind holds dense weights."""
    packed = both(nn.Sequential(nn.Conv2d(4, 4, 3), nn.Flatten(2), Selfish()))[1]
    packed(drawn(1, 4, 10, 6))
    held = [value for module in packed.modules() for value in vars(module).values() if isinstance(value, torch.Tensor)]
    assert held == []


@torch.no_grad()
def test_compile_fullgraph_and_autocast() -> None:
    model = nn.Sequential(nn.Conv2d(3, 32, 3, padding=1), nn.Flatten(2), nn.Linear(32, 32), Selfish(), nn.Linear(32, 4))
    inputs = drawn(2, 3, 8, 4)
    dense, packed = both(model)
    # Compiled attention takes another path than the fused one, dense as well.
    torch.compiler.reset()
    graphs: list[int] = []

    def backend(graph: torch.fx.GraphModule, _: object) -> Callable[..., object]:
        graphs.append(sum("pemn.packed" in str(node.target) for node in graph.graph.nodes))
        return graph.forward

    compiled = torch.compile(packed, fullgraph=True, backend=backend)
    rival = torch.compile(dense, fullgraph=True, backend="eager")
    for _ in range(3):
        assert torch.equal(compiled(inputs), rival(inputs))
    assert graphs == [5]  # one graph, in which every weight is expanded once
    assert torch.equal(packed(inputs), dense(inputs))
    assert all(part.held is None for part in packed.modules() if isinstance(part, PackedParameter))
    with torch.autocast("cpu", torch.bfloat16):
        assert packed(inputs).dtype == torch.bfloat16
        assert torch.equal(packed(inputs), dense(inputs))
        assert torch.equal(compiled(inputs), rival(inputs))


@torch.no_grad()
def test_copies_moves_and_states_are_those_of_modules() -> None:
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8), nn.Flatten(2), nn.Linear(36, 32), Selfish()
    )
    inputs = drawn(2, 3, 8, 8)
    dense, packed = both(model)
    twin = copy.deepcopy(packed)
    assert torch.equal(twin(inputs), packed(inputs))
    twin.get_submodule("0").parametrizations["weight"][0].keep.zero_()  # type: ignore[index, union-attr]
    twin.get_submodule("4.attention").parametrizations["in_proj_weight"][0].keep.zero_()  # type: ignore[index, union-attr]
    assert not torch.equal(twin(inputs), packed(inputs))
    twin.load_state_dict(packed.state_dict())
    assert torch.equal(twin(inputs), packed(inputs))
    assert torch.equal(twin.half()(inputs.half()), dense.half()(inputs.half()))
    assert twin.get_submodule("0").weight.dtype == torch.float16
    # Halves were rounded once: the way back has every bit.
    assert torch.equal(twin.float().get_submodule("0").weight, packed.get_submodule("0").weight)  # type: ignore[arg-type]
    assert twin.double().get_submodule("0").weight.dtype == torch.float64
    assert packed.to("cpu").get_submodule("0").parametrizations["weight"][0].keep.dtype == torch.uint8  # type: ignore[index, union-attr]


@torch.no_grad()
def test_a_layer_under_two_names_and_one_with_hooks() -> None:
    layer, watched = nn.Linear(32, 32), nn.Linear(32, 32)
    seen: list[int] = []
    watched.register_forward_hook(lambda *_: seen.append(1))
    model = nn.Sequential(layer, nn.ReLU(), watched, layer)
    content = content_of(nn.Sequential(layer, nn.ReLU(), nn.Linear(32, 32), layer))
    dense = rebuild_model(content, into=copy.deepcopy(model))
    packed = rebuild_model(content, into=copy.deepcopy(model), packed=True)
    assert not any(isinstance(part, PackedLinear) for part in packed.modules())
    assert packed.get_submodule("0") is packed.get_submodule("3")
    inputs = drawn(3, 32)
    assert torch.equal(packed(inputs), dense(inputs))
    assert len(seen) == 2


@torch.no_grad()
def test_the_model_itself_and_a_compiled_one() -> None:
    torch.compiler.reset()
    inputs = drawn(3, 32)
    dense, packed = both(nn.Linear(32, 8))
    assert torch.equal(packed(inputs), dense(inputs))
    content = content_of(nn.Sequential(nn.Linear(32, 8), nn.ReLU(), nn.Linear(8, 2)))
    plain = nn.Sequential(nn.Linear(32, 8), nn.ReLU(), nn.Linear(8, 2))
    dense = rebuild_model(content, into=copy.deepcopy(plain))
    for into in (
        torch.compile(copy.deepcopy(plain), backend="eager"),
        nn.Sequential(torch.compile(copy.deepcopy(plain[0]), backend="eager"), *copy.deepcopy(plain[1:])),  # type: ignore[arg-type]
    ):
        into(inputs)  # compiled with other weights
        packed = rebuild_model(content, into=into, packed=True)  # type: ignore[arg-type]
        assert torch.equal(packed(inputs), dense(inputs))
        assert sum(isinstance(part, PackedTensor) for part in packed.modules()) == 2
