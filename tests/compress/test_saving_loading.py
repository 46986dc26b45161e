"""From a masked model to a file and back: nothing is lost, nothing is left of the masks, and every misfit is named."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import pemn_compress as pemn
from pemn_compress.masking import masked_weights
from pemn_compress.misfit import MisfitError
from pemn_compress.models import architecture_of, build
from pemn_compress.saving import to_content
from pemn_formats.reader import read
from pemn_formats.writer import content_id, encode


class Net(nn.Module):
    """A model that no registry knows: tied weights, a plain buffer, LayerNorm, BatchNorms of three kinds."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 6, 3)
        self.bn = nn.BatchNorm2d(6)
        self.plain_bn = nn.BatchNorm2d(6, affine=False)
        self.untracked = nn.BatchNorm2d(6, track_running_stats=False)
        self.norm = nn.LayerNorm(6)
        self.first = nn.Embedding(5, 6)
        self.second = nn.Embedding(5, 6)
        self.second.weight = self.first.weight
        self.head = nn.Linear(6, 3)
        self.register_buffer("steps", torch.tensor([3, 4]))
        self.register_buffer("flags", torch.tensor([True, False]))
        self.register_buffer("unsaved", torch.ones(2), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.untracked(self.plain_bn(self.bn(self.conv(x)))).mean((2, 3))
        return self.head(self.norm(x) + self.second.weight[0])


def trained(model: nn.Module, seed: int = 0) -> nn.Module:
    """Give every residual value a value that an untrained net would not have."""
    generator = torch.Generator().manual_seed(seed)
    for name, value in model.state_dict(keep_vars=True).items():
        if value.is_floating_point() and "parametrizations" not in name:
            value.data.copy_(torch.rand(value.shape, generator=generator) + 0.1)
    return model.eval()


def masked_net(**options: object) -> nn.Module:
    return trained(pemn.mask_(Net(), pemn.MaskConfig(**options)))  # type: ignore[arg-type]


def plain_state(model: nn.Module) -> dict[str, torch.Tensor]:
    return pemn.merge_(model).state_dict()


@pytest.mark.parametrize("alphabet", ["keep", "sign", "ternary"])
@pytest.mark.parametrize("scale", ["none", "tensor", "channel"])
@pytest.mark.parametrize("store", ["seed", "vector"])
def test_lossless_gives_the_plain_state_back_bit_for_bit(tmp_path: Path, alphabet: str, scale: str, store: str) -> None:
    model = masked_net(alphabet=alphabet, scale=scale, store=store, strategy="rp", values=7, mode="rand", seed=5)
    pemn.save_model(model, tmp_path / "net.pemn", lossless=True)
    weights = pemn.load_file(tmp_path / "net.pemn")
    expected = plain_state(model)
    assert weights.keys() == expected.keys()
    for name, value in expected.items():
        assert weights[name].dtype == value.dtype, name
        assert weights[name].numpy().tobytes() == value.numpy().tobytes(), name


def test_loaded_model_is_plain_and_gives_the_same_outputs(tmp_path: Path) -> None:
    model = masked_net(seed=2)
    images = torch.randn(4, 1, 8, 8)
    with torch.no_grad():
        expected = model(images)
    pemn.save_model(model, tmp_path / "net.pemn", residual_dtype="float32")
    loaded = pemn.load_model(tmp_path / "net.pemn", into=Net())
    assert not loaded.training
    assert all("parametrizations" not in name for name in loaded.state_dict())
    assert loaded.second.weight is loaded.first.weight
    with torch.no_grad():
        torch.testing.assert_close(loaded(images), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("eps", [1e-5, 1e-3, 1e-12, 0.5, 0.0])
@pytest.mark.parametrize("layer", [nn.BatchNorm1d, nn.BatchNorm2d])
def test_a_folded_batch_norm_is_exactly_the_stored_affine_map(tmp_path: Path, eps: float, layer: type) -> None:
    model = trained(pemn.mask_(nn.Sequential(nn.Linear(4, 5), layer(5, eps=eps))))
    content = to_content(model)
    (folded,) = [entry for entry in content.residual if entry.kind == "bn"]
    weights = pemn.load_file(encode(content))
    restored = layer(5, eps=eps).eval()
    restored.load_state_dict({name[2:]: value for name, value in weights.items() if name.startswith("1.")})
    x = torch.randn(64, 5) if layer is nn.BatchNorm1d else torch.randn(64, 5, 2, 2)
    shape = (1, 5) if layer is nn.BatchNorm1d else (1, 5, 1, 1)
    scale, shift = (torch.from_numpy(row.astype(np.float32)).reshape(shape) for row in folded.values)
    with torch.no_grad():
        torch.testing.assert_close(restored(x), x * scale + shift, rtol=3e-7, atol=3e-7)


def test_folding_keeps_what_the_layer_computes() -> None:
    model = trained(pemn.mask_(nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5))))
    weights = pemn.load_file(encode(to_content(model, residual_dtype="float32")))
    plain = nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5)).eval()
    plain.load_state_dict(weights)
    x = torch.randn(64, 4)
    with torch.no_grad():
        torch.testing.assert_close(plain(x), model(x), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["convmixer", "resnet", "vit", "mlp"])
def test_registered_models_need_nothing_but_the_file(tmp_path: Path, name: str) -> None:
    small: dict[str, dict[str, object]] = {
        "convmixer": {"dim": 8, "depth": 2},
        "resnet": {"width": 4},
        "vit": {"dim": 16, "depth": 1, "heads": 2},
        "mlp": {"hidden": 8},
    }
    model = trained(pemn.mask_(build(name, **small[name])))  # type: ignore[arg-type]
    pemn.save_model(model, tmp_path / "net.pemn", lossless=True)
    loaded = pemn.load_model(tmp_path / "net.pemn")
    assert architecture_of(loaded) == architecture_of(model)
    for key, value in plain_state(model).items():
        assert torch.equal(loaded.state_dict()[key], value), key


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_load_rounds_once(tmp_path: Path, dtype: torch.dtype) -> None:
    model = masked_net(distribution="normal")
    pemn.save_model(model, tmp_path / "net.pemn", residual_dtype="float32")
    full = pemn.load_file(tmp_path / "net.pemn")
    for name, value in pemn.load_file(tmp_path / "net.pemn", dtype=dtype).items():
        expected = full[name].to(dtype) if full[name].is_floating_point() else full[name]
        assert torch.equal(value, expected), name


def test_paths_bytes_and_file_objects_are_the_same(tmp_path: Path) -> None:
    pemn.save_model(masked_net(), tmp_path / "net.pemn")
    data = (tmp_path / "net.pemn").read_bytes()
    for origin in (str(tmp_path / "net.pemn"), data, io.BytesIO(data)):
        assert pemn.load_file(origin).keys() == pemn.load_file(tmp_path / "net.pemn").keys()


def test_saving_changes_nothing_and_is_deterministic(tmp_path: Path) -> None:
    model = masked_net()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    first = encode(to_content(model))
    assert encode(to_content(model)) == first
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert content_id(read(first)) == content_id(to_content(model))


def test_a_compiled_model_saves_under_plain_names() -> None:
    model = masked_net()
    compiled = torch.compile(model, backend="eager")
    assert content_id(to_content(compiled)) == content_id(to_content(model))  # type: ignore[arg-type]


def test_a_module_under_two_names_is_stored_once() -> None:
    shared = nn.Linear(4, 4)
    model = pemn.mask_(nn.Sequential(shared, nn.ReLU(), shared))
    content = to_content(model)
    assert [tensor.name for tensor in content.masked] == ["0.weight"]
    assert content.aliases == {"2.weight": "0.weight", "2.bias": "0.bias"}
    loaded = pemn.load_file(encode(content))
    assert torch.equal(loaded["2.weight"], loaded["0.weight"])


def test_vector_and_seed_give_the_same_weights(tmp_path: Path) -> None:
    model = masked_net(strategy="rp", values=11, distribution="normal")
    sizes = {
        store: pemn.save_model(model, tmp_path / f"{store}.pemn", store=store).file_bytes
        for store in ("seed", "vector")
    }
    assert sizes["seed"] < sizes["vector"]
    seeded, explicit = (pemn.load_file(tmp_path / f"{store}.pemn") for store in sizes)
    assert all(torch.equal(value, explicit[name]) for name, value in seeded.items())


def test_size_report_counts_every_byte(tmp_path: Path) -> None:
    pemn.save_model(masked_net(), tmp_path / "net.pemn")
    report = pemn.size_report(tmp_path / "net.pemn")
    size = (tmp_path / "net.pemn").stat().st_size
    assert report.file_bytes == size
    assert report.header + report.prototypes + report.masks + report.residual == size
    state = plain_state(masked_net())
    state.pop("second.weight")
    assert report.dense_float32 == sum(value.numel() * value.element_size() for value in state.values())
    assert f"{size:,} B" in str(report)


def test_convmixer_256_8_fits_the_promised_bytes(tmp_path: Path) -> None:
    model = trained(pemn.mask_(build("convmixer", dim=256, depth=8, kernel=5, patch=2, classes=10)))
    ledger = pemn.save_model(model, tmp_path / "net.pemn")
    assert ledger.dense_float32 == 2_394_248
    assert ledger.file_bytes <= 91_000
    assert ledger.header <= 1_000


def refused(model: nn.Module, message: str, **options: object) -> None:
    with pytest.raises(pemn.PemnError, match=message) as caught:
        to_content(model, **options)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


def test_what_cannot_be_saved_is_named() -> None:
    refused(nn.Linear(2, 2), "no masked weights")
    refused(masked_net(), "unknown residual dtype 'int3'", residual_dtype="int3")
    refused(masked_net(), "unknown store 'cloud'", store="cloud")
    broken = masked_net()
    broken.bn.weight.data[0] = float("nan")
    refused(broken, "bn holds values that are not finite")
    large = masked_net()
    large.head.bias.data[0] = 1e6
    refused(large, r"head.bias holds 1e\+06, beyond float16")
    to_content(large, residual_dtype="float32")
    lost = masked_net()
    masked_weights(lost)[0][2].data[0] = float("nan")
    refused(lost, "conv.weight: 9 of 54 scores are NaN")
    twice = nn.Sequential(pemn.mask_(nn.Linear(2, 2)), pemn.mask_(nn.Linear(2, 2)))
    refused(twice, "masked in several calls")
    complex_buffer = pemn.mask_(nn.Linear(2, 2))
    complex_buffer.register_buffer("phase", torch.ones(1, dtype=torch.complex64))
    refused(complex_buffer, "phase holds complex64")
    stateful = pemn.mask_(nn.Linear(2, 2))
    stateful.__class__ = type("Stateful", (type(stateful),), {"get_extra_state": lambda self: {"step": 3}})
    refused(stateful, "_extra_state is no tensor but dict, which a .pemn file cannot store")
    tied = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.BatchNorm1d(3))
    tied[2].weight = tied[1].weight
    refused(pemn.mask_(tied), "2.weight is tied to 1.weight")
    to_content(tied, lossless=True)
    normed = pemn.mask_(
        nn.Sequential(nn.Linear(2, 3), nn.utils.parametrizations.weight_norm(nn.Linear(3, 3))),
        filter_fn=lambda name, _: name == "0",
    )
    refused(normed, "parametrization that is not a mask")


def test_existing_files_are_kept(tmp_path: Path) -> None:
    target = tmp_path / "net.pemn"
    target.write_bytes(b"precious")
    with pytest.raises(pemn.PemnError, match="exists"):
        pemn.save_model(masked_net(), target)
    assert target.read_bytes() == b"precious"
    pemn.save_model(masked_net(), target, force=True)
    assert pemn.load_file(target)
    assert [path.name for path in tmp_path.iterdir()] == ["net.pemn"]


def test_models_that_do_not_fit_are_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "net.pemn"
    pemn.save_model(masked_net(), path)
    with pytest.raises(pemn.PemnError, match="names no registered architecture"):
        pemn.load_model(path)
    wider = Net()
    wider.head = nn.Linear(6, 4)
    with pytest.raises(MisfitError, match=r"'head.weight' has shape \[3, 6\] in the file, \[4, 6\] in the model"):
        pemn.load_model(path, into=wider)
    more = Net()
    more.extra = nn.Linear(1, 1)
    with pytest.raises(MisfitError, match=r"'extra.weight' of shape .* the file has no such tensor"):
        pemn.load_model(path, into=more)
    fewer = Net()
    del fewer.head
    with pytest.raises(MisfitError, match=r"the file has 'head.weight', the model has no such tensor"):
        pemn.load_model(path, into=fewer)
    other_eps = Net()
    other_eps.bn.eps = 1e-3
    with pytest.raises(MisfitError, match=r"'bn' has eps 0.001 in the model"):
        pemn.load_model(path, into=other_eps)
    assert not issubclass(MisfitError, pemn.FormatError)  # the file is as good as it was
    with pytest.raises(pemn.PemnError, match="is parametrized"):
        pemn.load_model(path, into=masked_net())


def test_a_file_cannot_ask_for_any_network(tmp_path: Path) -> None:
    model = pemn.mask_(build("mlp", hidden=8))
    content = to_content(model)
    for architecture, message in (
        ({"name": "os.system", "args": {}}, "unknown model 'os.system'"),
        ({"name": "mlp", "args": {"hidden": 10**9}}, "hidden"),
        ({"name": "mlp", "args": {"shell": "rm"}}, "takes no argument 'shell'"),
        ({"name": "mlp", "args": {"hidden": 4096}}, "has shape"),
    ):
        data = encode(type(content)(**{**vars(content), "architecture": architecture}))
        with pytest.raises(pemn.FormatError, match=message):
            pemn.load_model(data)


@pytest.mark.parametrize(
    ("device", "message"),
    [
        ("tpu9", "unknown device 'tpu9'"),
        ("cuda:99", "no CUDA device|there are [0-9]+ CUDA"),
        ("meta", "device meta cannot be used here"),
        ("xpu:99", "device xpu:99 cannot be used here"),
    ],
)
def test_devices_that_do_not_exist(tmp_path: Path, device: str, message: str) -> None:
    pemn.save_model(masked_net(), tmp_path / "net.pemn")
    with pytest.raises(pemn.PemnError, match=message):
        pemn.load_file(tmp_path / "net.pemn", device=device)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_cuda_rebuilds_the_same_bytes(tmp_path: Path, dtype: torch.dtype) -> None:
    pemn.save_model(masked_net(alphabet="ternary", scale="channel", strategy="rp", mode="rand"), tmp_path / "net.pemn")
    on_cpu = pemn.load_file(tmp_path / "net.pemn", dtype=dtype)
    on_gpu = pemn.load_file(tmp_path / "net.pemn", dtype=dtype, device="cuda")
    for name, value in on_cpu.items():
        assert torch.equal(
            value.view(torch.uint8) if value.dim() else value,
            on_gpu[name].cpu().view(torch.uint8) if value.dim() else on_gpu[name].cpu(),
        ), name


def test_effort_changes_how_a_file_is_written_alone(tmp_path: Path) -> None:
    for name, options in (("balanced", {}), ("fast", {"effort": "fast"})):
        pemn.save_model(masked_net(), tmp_path / name, **options)
        pemn.save_bundle({"a": tmp_path / name}, tmp_path / f"{name} bundle", **options)
    for name in ("", " bundle"):
        assert content_id(read(tmp_path / f"balanced{name}")) == content_id(read(tmp_path / f"fast{name}"))
    for save in (pemn.save_model, lambda model, path, **rest: pemn.save_bundle({"a": model}, path, **rest)):
        with pytest.raises(pemn.PemnError, match="unknown effort 'none'; known: balanced, fast, smallest"):
            save(masked_net(), tmp_path / "none", effort="none")
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("mode", ["copy", "rand"])
@pytest.mark.parametrize("store", ["seed", "vector"])
def test_a_vector_longer_than_every_layer_can_be_saved_after_training(mode: str, store: str, tmp_path: Path) -> None:
    model = masked_net(strategy="rp", values=1_000, mode=mode, store=store)
    pemn.save_model(model, tmp_path / "net.pemn")
    weights = pemn.load_file(tmp_path / "net.pemn")
    assert torch.equal(weights["conv.weight"], model.conv.weight)  # type: ignore[arg-type]
    assert torch.equal(weights["head.weight"], model.head.weight)  # type: ignore[arg-type]
