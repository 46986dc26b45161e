import copy
import pickle

import pytest
import torch
from torch import nn

from pemn_compress.models import Architecture, architecture_of, build, check, data_arguments, names
from pemn_formats.errors import PemnError

SMALL = {
    "convmixer": {"dim": 8, "depth": 2},
    "mlp": {"hidden": 8, "depth": 2},
    "resnet": {"depth": 8, "width": 4},
    "vit": {"dim": 16, "depth": 2, "heads": 2},
}


def small(name: str, size: int = 8, classes: int = 5, channels: int = 1) -> nn.Module:
    return build(name, **SMALL[name], **data_arguments(name, classes=classes, channels=channels, size=(size, size)))


def weights(model: nn.Module) -> list[torch.Tensor]:
    return [m.weight for m in model.modules() if isinstance(m, (nn.Conv2d, nn.Linear))]


def test_names_are_sorted_and_known_here():
    assert names() == tuple(sorted(SMALL))


def test_convmixer_256_8_has_the_papers_weights():
    model = build("convmixer", dim=256, depth=8, kernel=5, patch=2, classes=10)
    assert sum(w.numel() for w in weights(model)) == 581_120
    assert len(weights(model)) == 18
    assert sum(isinstance(m, nn.BatchNorm2d) for m in model.modules()) == 17
    assert not any(name.endswith("bias") and "bn" not in name for name, _ in model.named_parameters())


# He et al. 2016, table 6, give 0.27, 0.46 and 0.85 million.
@pytest.mark.parametrize(("depth", "parameters"), [(20, 269_722), (32, 464_154), (56, 853_018)])
def test_resnet_parameters(depth, parameters):
    assert sum(p.numel() for p in build("resnet", depth=depth).parameters()) == parameters


@pytest.mark.parametrize(("dim", "depth"), [(256, 6), (512, 8)])
def test_vit_weights_are_all_in_convolutions_and_linear_layers(dim, depth):
    with torch.device("meta"):
        model = build("vit", dim=dim, depth=depth)
    per_block = dim * dim * (3 + 1 + 2 * 2)
    assert sum(w.numel() for w in weights(model)) == 48 * dim + depth * per_block + 10 * dim
    rest = [n for n, p in model.named_parameters() if p.dim() > 1 and not any(p is w for w in weights(model))]
    assert rest == ["pos"]


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize(("size", "channels"), [(8, 1), (32, 3)])
def test_logits_have_a_row_per_image_and_a_column_per_class(name, size, channels):
    logits = small(name, size, channels=channels)(torch.rand(3, channels, size, size))
    assert logits.shape == (3, 5)
    assert torch.isfinite(logits).all()


@pytest.mark.parametrize("name", ["convmixer", "resnet", "vit"])
def test_large_images_pass(name):
    more = {"patch": 16} if name in ("vit", "convmixer") else {}
    args = SMALL[name] | data_arguments(name, classes=2, channels=3, size=(224, 224)) | more
    assert build(name, **args).eval()(torch.rand(1, 3, 224, 224)).shape == (1, 2)


def test_resnet_shortcut_is_every_second_pixel_between_zero_channels():
    block = build("resnet", depth=8, width=4).s2[0].eval()
    nn.init.zeros_(block.bn2.weight)
    x = torch.rand(1, 4, 6, 6)
    y = block(x)
    assert torch.equal(y[:, 2:6], x[:, :, ::2, ::2])
    assert not y[:, :2].any()
    assert not y[:, 6:].any()


@pytest.mark.parametrize("name", SMALL)
def test_same_generator_state_gives_the_same_net(name):
    states = []
    for _ in range(2):
        torch.manual_seed(7)
        states.append(small(name).state_dict())
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


@pytest.mark.parametrize("name", SMALL)
def test_equal_nets_have_equal_architectures(name):
    bare = architecture_of(build(name))
    assert bare == check(name, {})
    assert bare == architecture_of(build(name, **bare.args))
    assert bare == architecture_of(build(bare))
    assert bare != check(name, {"classes": 11})
    assert bare.to_dict() == {"name": name, "args": dict(bare.args)}
    assert list(check(name, dict(reversed(bare.args.items()))).args) == list(bare.args)


def test_keywords_override_an_architecture():
    assert architecture_of(build(check("mlp", {"hidden": 8}), classes=3)).args["classes"] == 3


def test_architecture_survives_copies_and_wrappers():
    model = small("mlp")
    wanted = architecture_of(model)
    assert architecture_of(copy.deepcopy(model)) == wanted
    assert architecture_of(pickle.loads(pickle.dumps(model))) == wanted
    assert architecture_of(torch.compile(model)) == wanted
    assert architecture_of(torch.optim.swa_utils.AveragedModel(model)) == wanted
    assert architecture_of(nn.Sequential(model)) is None


@pytest.mark.parametrize("name", SMALL)
def test_exports_with_the_same_logits(name):
    model = small(name).eval()
    images = torch.rand(2, 1, 8, 8)
    exported = torch.export.export(model, (images,)).module()
    torch.testing.assert_close(exported(images), model(images))


@pytest.mark.parametrize("name", SMALL)
def test_traces_without_graph_breaks(name):
    model = small(name).eval()
    images = torch.rand(2, 1, 8, 8)
    torch.testing.assert_close(torch.compile(model, fullgraph=True, backend="eager")(images), model(images))


@pytest.mark.parametrize(
    ("name", "args", "message"),
    [
        (
            "convmixr",
            {},
            r"unknown model 'convmixr' \(did you mean 'convmixer'\?\); known: convmixer, mlp, resnet, vit",
        ),
        ("os.system", {}, "unknown model 'os.system'"),
        ("mlp", {"hiden": 4}, r"no argument 'hiden' \(did you mean 'hidden'\?\); it takes image"),
        ("mlp", {"hidden": 0}, "hidden is 0; expected 1 to 65536"),
        ("mlp", {"hidden": -1}, "hidden is -1"),
        ("mlp", {"hidden": 8.0}, r"hidden is 8\.0; expected a whole number"),
        ("mlp", {"hidden": True}, "hidden is True; expected a whole number"),
        ("mlp", {"hidden": "8"}, "hidden is '8'"),
        ("mlp", {"norm": 1}, "norm is 1; expected true or false"),
        ("mlp", {"image": 1024, "channels": 1024}, "1,073,741,824 inputs; the most is"),
        ("mlp", {"hidden": 65_536, "depth": 3}, "has 8,[0-9,]+ values; the most is 2,147,483,648"),
        ("convmixer", {"kernel": 4}, "kernel is 4; expected an odd number"),
        ("convmixer", {"activation": "silu"}, "activation is 'silu'; expected one of gelu, relu"),
        ("convmixer", {"activation": 3}, "activation is 3; expected one of"),
        ("convmixer", {"dim": 10**30}, "dim is 1000"),
        ("convmixer", {"dim": 16_384, "depth": 256}, "the most is 2,147,483,648"),
        ("resnet", {"depth": 21}, r"depth is 21; expected 6n \+ 2"),
        ("resnet", {"width": 4_096, "depth": 1_202}, "the most is 2,147,483,648"),
        ("vit", {"image": 30}, "image side 30 is not a multiple of patch 4"),
        ("vit", {"heads": 7}, "dim 256 is not a multiple of heads 7"),
        ("vit", {"image": 1024, "patch": 1}, "1,048,576 patches"),
        ("vit", {"classes": None}, "classes is None"),
    ],
)
def test_wrong_arguments_are_refused_in_one_line(name, args, message):
    with pytest.raises(PemnError, match=message) as caught:
        build(name, **args)
    assert "\n" not in str(caught.value)


def test_nothing_is_allocated_for_a_refused_net(monkeypatch):
    monkeypatch.setattr(torch.nn.init, "kaiming_uniform_", lambda w, **_: pytest.fail("allocated") if w.is_cpu else w)
    with pytest.raises(PemnError, match="the most is"):
        build("mlp", hidden=65_536, depth=3)


def test_building_on_meta_allocates_nothing():
    with torch.device("meta"):
        model = build("mlp", hidden=32_768, depth=2)
    assert {p.device.type for p in model.parameters()} == {"meta"}


def test_data_arguments_follow_the_net():
    assert data_arguments("convmixer", classes=7, channels=1, size=(8, 9)) == {"classes": 7, "channels": 1}
    assert data_arguments("vit", classes=7, channels=1, size=(8, 8)) == {"classes": 7, "channels": 1, "image": 8}
    with pytest.raises(PemnError, match="takes square images; these are 8x9"):
        data_arguments("mlp", classes=7, channels=1, size=(8, 9))


def test_architecture_is_frozen():
    with pytest.raises(AttributeError):
        Architecture("mlp", {}).name = "vit"
