from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

import pemn_compress as pemn
from pemn_compress.loading import rebuild_model
from pemn_compress.misfit import MisfitError
from pemn_compress.models import build
from pemn_compress.packed_layers import PackedConv1x1, PackedLinear
from pemn_compress.packed_op import packed_linear
from pemn_compress.saving import to_content
from pemn_formats.errors import PemnError

SEED = (1 << 64) - 3


def net() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 32, 1, stride=2),
        nn.ReLU(),
        nn.Conv2d(32, 32, 3, padding=1),
        nn.Flatten(),
        nn.Linear(512, 5, bias=False),
    )


def saved(folder: Path, store: str = "seed", **options: object) -> Path:
    model = pemn.mask_(net(), pemn.MaskConfig(seed=SEED, **options))  # type: ignore[arg-type]
    pemn.save_model(model, folder / "net.pemn", store=store, force=True)
    return folder / "net.pemn"


def both(path: Path) -> tuple[nn.Module, nn.Module]:
    return pemn.load_model(path, into=net()), pemn.load_model(path, into=net(), packed=True)


def same_bits(left: torch.Tensor, right: torch.Tensor) -> bool:
    return torch.equal(left.view(torch.int32), right.view(torch.int32))


@pytest.mark.parametrize("alphabet", ["keep", "sign", "ternary"])
@pytest.mark.parametrize(
    "fill",
    [{}, {"strategy": "rp", "values": 23}, {"strategy": "rp", "values": 40, "mode": "rand"}],
    ids=["full", "rp", "rand"],
)
def test_weights_are_those_of_the_plain_model(tmp_path: Path, fill: dict[str, object], alphabet: str) -> None:
    inputs = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    for distribution, store, scale in (
        ("signed", "seed", "channel"),
        ("signed", "vector", "tensor"),
        ("normal", "seed", "tensor"),
    ):
        path = saved(tmp_path, store, alphabet=alphabet, distribution=distribution, scale=scale, **fill)
        plain, packed = both(path)
        for at, kind in ((0, PackedConv1x1), (4, PackedLinear)):
            assert isinstance(packed.get_submodule(str(at)), kind)
            assert same_bits(packed.get_submodule(str(at)).weight, plain.get_submodule(str(at)).weight)  # type: ignore[arg-type]
        assert same_bits(packed.get_submodule("2").weight, plain.get_submodule("2").weight)  # type: ignore[arg-type]
        with torch.no_grad():
            torch.testing.assert_close(packed(inputs), plain(inputs))


@pytest.mark.parametrize(("alphabet", "bits"), [("keep", 1), ("sign", 1), ("ternary", 2)])
def test_memory_is_the_packed_mask(alphabet: str, bits: int) -> None:
    model = pemn.mask_(nn.Sequential(nn.Linear(256, 256, bias=False)), pemn.MaskConfig(alphabet=alphabet))
    packed = rebuild_model(to_content(model), into=nn.Sequential(nn.Linear(256, 256, bias=False)), packed=True)
    assert sum(held.nbytes for held in (*packed.buffers(), *packed.parameters())) == 256 * 256 * bits // 8 + 4
    assert f"{256 * 256 * bits // 8 + 4} bytes" in repr(packed)


def test_half_precision_leaves_the_scale_alone(tmp_path: Path) -> None:
    _, packed = both(saved(tmp_path))
    before = packed.get_submodule("4").scale.clone()
    packed.half()
    assert torch.equal(packed.get_submodule("4").scale, before)  # type: ignore[arg-type]
    assert packed.get_submodule("0").bias.dtype == torch.float16


@torch.no_grad()
def test_compile_fullgraph_and_autocast(tmp_path: Path) -> None:
    plain, packed = both(saved(tmp_path, scale="channel"))
    inputs = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    torch.compiler.reset()
    compiled = torch.compile(packed, fullgraph=True, backend="eager")
    assert torch.equal(compiled(inputs), packed(inputs))
    with torch.autocast("cpu", torch.bfloat16):
        assert packed(inputs).dtype == torch.bfloat16
        torch.testing.assert_close(packed(inputs), plain(inputs), rtol=0.05, atol=0.05)
        assert torch.equal(compiled(inputs), packed(inputs))


def test_the_operator_is_sound(tmp_path: Path) -> None:
    layer = both(saved(tmp_path))[1].get_submodule("4")
    assert isinstance(layer, PackedLinear)
    scale = layer.scale.view(torch.float32)
    arguments = (torch.randn(3, 512), layer.keep, layer.flip, layer.values, scale, None, 5, *layer.source)
    torch.library.opcheck(packed_linear, arguments, test_utils=("test_schema", "test_faketensor"))
    assert packed_linear(torch.randn(2, 7, 512), *arguments[1:]).shape == (2, 7, 5)


@torch.no_grad()
def test_a_packed_model_keeps_its_state(tmp_path: Path) -> None:
    """Saved and loaded by torch's own means, as any module."""
    path = saved(tmp_path)
    packed = pemn.load_model(path, into=net(), packed=True)
    other = pemn.load_model(path, into=net(), packed=True)
    other.get_submodule("4").keep.zero_()  # type: ignore[operator, union-attr]
    other.load_state_dict(packed.state_dict())
    inputs = torch.randn(1, 3, 8, 8)
    assert torch.equal(other(inputs), packed(inputs))


def test_a_registered_architecture_needs_no_model(tmp_path: Path) -> None:
    model = build("convmixer", dim=16, depth=2, kernel=3, patch=2, classes=10)
    pemn.save_model(pemn.mask_(model), tmp_path / "mixer.pemn")
    plain = pemn.load_model(tmp_path / "mixer.pemn")
    packed = pemn.load_model(tmp_path / "mixer.pemn", packed=True)
    assert sum(isinstance(module, (PackedConv1x1, PackedLinear)) for module in packed.modules()) == 3
    assert not any(held.is_meta for held in (*packed.buffers(), *packed.parameters()))
    inputs = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(packed(inputs), plain(inputs))


def test_another_model_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path)
    wrong = net()
    wrong[4] = nn.Linear(512, 6, bias=False)
    with pytest.raises(MisfitError, match=r"'4\.weight' has shape \[5, 512\] in the file, \[6, 512\] in the model"):
        pemn.load_model(path, into=wrong, packed=True)
    assert type(wrong[4]) is nn.Linear


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("layers", [slice(4, 5), slice(0, 5)], ids=["linear", "with a 3x3"])
def test_a_packed_model_is_not_filled(layers: slice, packed: bool) -> None:
    content = to_content(pemn.mask_(net()[layers]))
    model = rebuild_model(content, into=net()[layers], packed=True)
    with pytest.raises(PemnError, match=r"^the model to fill is packed; pass a plain one"):
        rebuild_model(content, into=model, packed=packed)
