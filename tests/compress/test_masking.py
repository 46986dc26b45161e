from __future__ import annotations

import copy
from collections import OrderedDict

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from pemn_compress.config import MaskConfig
from pemn_compress.masking import mask_, mask_parameters, masked_weights, merge_
from pemn_formats.errors import PemnError


def conv_net() -> nn.Sequential:
    return nn.Sequential(
        OrderedDict(conv=nn.Conv2d(3, 6, 3), norm=nn.BatchNorm2d(6), flat=nn.Flatten(), head=nn.Linear(24, 5))
    )


def images() -> torch.Tensor:
    return torch.linspace(-1, 1, 2 * 3 * 16).reshape(2, 3, 4, 4)


def names(model: nn.Module) -> list[str]:
    return [name for name, _, _ in masked_weights(model)]


class Names(nn.Module):
    """One of every kind of module that has maskable weights, and some that have none."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(5, 8)
        self.c1, self.c2, self.c3 = nn.Conv1d(4, 2, 3), nn.Conv2d(4, 2, 3, groups=2), nn.Conv3d(4, 2, 3)
        self.t1, self.t2, self.t3 = (
            nn.ConvTranspose1d(4, 2, 3),
            nn.ConvTranspose2d(4, 2, 3),
            nn.ConvTranspose3d(4, 2, 3),
        )
        self.attention = nn.MultiheadAttention(8, 2)
        self.mixed = nn.MultiheadAttention(8, 2, kdim=4, vdim=6)
        self.norm, self.lstm, self.empty = nn.LayerNorm(8), nn.LSTM(3, 3), nn.Conv2d(1, 1, 1)
        self.empty.weight = nn.Parameter(torch.empty(0, 1, 1, 1))


def test_every_convolution_linear_and_attention_weight_is_masked_in_module_order() -> None:
    model = mask_(Names())
    assert names(model) == [
        *(f"{name}.weight" for name in ("c1", "c2", "c3", "t1", "t2", "t3")),
        "attention.in_proj_weight",
        "attention.out_proj.weight",
        "mixed.q_proj_weight",
        "mixed.k_proj_weight",
        "mixed.v_proj_weight",
        "mixed.out_proj.weight",
    ]
    assert [weight.index for _, weight, _ in masked_weights(model)] == list(range(12))
    assert [weight.name for _, weight, _ in masked_weights(model)] == names(model)


def test_it_works_in_place_and_keeps_every_parameter_object() -> None:
    model = conv_net()
    before = {id(parameter) for parameter in model.parameters()}
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    config = MaskConfig(seed=4)
    assert mask_(model, config) is model
    assert {id(parameter) for parameter in model.parameters()} == before
    assert all(weight.config == config for _, weight, _ in masked_weights(model))
    weight = model.conv.weight.detach().clone()
    for _ in range(3):
        optimizer.zero_grad()
        model(images()).square().sum().backward()
        optimizer.step()
    assert not torch.equal(weight, model.conv.weight)


def test_the_same_seed_gives_the_same_weights_and_another_does_not() -> None:
    torch.manual_seed(1)
    one = mask_(conv_net(), MaskConfig(seed=1))
    torch.manual_seed(2)
    two, other = mask_(conv_net(), MaskConfig(seed=1)), mask_(conv_net(), MaskConfig(seed=2))
    assert torch.equal(one.conv.weight, two.conv.weight)
    assert not torch.equal(one.conv.weight, other.conv.weight)


def test_masking_leaves_the_global_generator_alone() -> None:
    model = conv_net()
    state = torch.get_rng_state()
    mask_(model)
    assert torch.equal(torch.get_rng_state(), state)


def test_filter_fn_chooses_by_name_and_module() -> None:
    seen: list[str] = []

    def choose(name: str, module: nn.Module) -> bool:
        seen.append(name)
        return not isinstance(module, nn.Linear)

    assert names(mask_(conv_net(), filter_fn=choose)) == ["conv.weight"]
    assert seen == ["conv", "head"]


def test_mask_parameters_are_scores_and_learned_scales() -> None:
    model = mask_(conv_net(), MaskConfig(scale="channel"))
    shapes = [tuple(parameter.shape) for parameter in mask_parameters(model)]
    assert shapes == [(6, 3, 3, 3), (6,), (5, 24), (5,)]
    own = {id(parameter) for parameter in model.parameters()}
    assert {id(parameter) for parameter in mask_parameters(model)} <= own
    assert len(list(mask_parameters(mask_(conv_net())))) == 2


def test_merging_leaves_plain_layers_with_the_same_weights_and_no_trace() -> None:
    plain = Names()
    types, keys = [type(module) for module in plain.modules()], list(plain.state_dict())
    model = mask_(Names(), MaskConfig(scale="channel", alphabet="sign"))
    weights = {name: weight(score).detach().clone() for name, weight, score in masked_weights(model)}
    ids = {id(score) for _, _, score in masked_weights(model)}
    assert merge_(model) is model
    assert [type(module) for module in model.modules()] == types
    assert list(model.state_dict()) == keys
    assert masked_weights(model) == []
    merged = dict(model.named_parameters())
    assert all(torch.equal(merged[name], weight) for name, weight in weights.items())
    assert {id(merged[name]) for name in weights} == ids
    assert names(mask_(model)) == list(weights)  # and it can be masked again


def test_merging_a_plain_model_changes_nothing() -> None:
    model = conv_net()
    assert list(merge_(model).state_dict()) == list(conv_net().state_dict())


def test_a_failed_merge_leaves_the_model_masked() -> None:
    model = mask_(conv_net())
    with torch.no_grad():
        masked_weights(model)[1][2].fill_(torch.nan)
    with pytest.raises(PemnError, match=r"head\.weight: 120 of 120 scores are NaN"):
        merge_(model)
    assert names(model) == ["conv.weight", "head.weight"]


def test_a_deep_copy_is_independent() -> None:
    model = mask_(conv_net(), MaskConfig(scale="channel"))
    twin = copy.deepcopy(model)
    assert torch.equal(twin(images()), model(images()))
    with torch.no_grad():
        masked_weights(twin)[0][2].neg_()
    assert not torch.equal(twin.conv.weight, model.conv.weight)


def test_merging_a_deep_copy_leaves_the_original_masked() -> None:
    model = mask_(conv_net())
    twin = merge_(copy.deepcopy(model))
    assert names(model) == ["conv.weight", "head.weight"]
    assert torch.equal(model.conv.weight, twin.conv.weight)
    assert torch.equal(model.eval()(images()), twin.eval()(images()))


def test_merging_keeps_the_parametrization_of_another_parameter() -> None:
    model = mask_(nn.Linear(4, 3))
    nn.utils.parametrize.register_parametrization(model, "bias", nn.Tanh())
    twin = merge_(copy.deepcopy(model))
    for one in (model, merge_(model)):
        assert torch.equal(one(torch.ones(1, 4)), twin(torch.ones(1, 4)))
    assert nn.utils.parametrize.is_parametrized(model, "bias")
    assert not nn.utils.parametrize.is_parametrized(model, "weight")


@pytest.mark.parametrize("scale", ["tensor", "channel"])
def test_a_state_dict_round_trip_restores_the_weights(scale: str) -> None:
    config = MaskConfig(strategy="rp", values=9, mode="rand", scale=scale, seed=3)
    model, other = mask_(conv_net(), config), mask_(conv_net(), config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(-0.5)
    other.load_state_dict(model.state_dict())
    assert torch.equal(other.conv.weight, model.conv.weight)
    assert torch.equal(other.eval()(images()), model.eval()(images()))


def test_an_average_of_scores_is_a_masked_model() -> None:
    model = mask_(conv_net())
    average = AveragedModel(model)
    with torch.no_grad():
        for _, _, score in masked_weights(model):
            score.mul_(-2)
    average.update_parameters(model)
    average.update_parameters(model)
    assert names(average.module) == ["conv.weight", "head.weight"]
    assert torch.equal(average.module.conv.weight, model.conv.weight)


@pytest.mark.parametrize(
    ("alphabet", "learner", "scale"),
    [("keep", "threshold", "tensor"), ("ternary", "topk", "channel"), ("sign", "topk", "none")],
)
def test_it_compiles_and_exports_whole(alphabet: str, learner: str, scale: str) -> None:
    torch._dynamo.reset()
    model = mask_(conv_net(), MaskConfig(alphabet=alphabet, learner=learner, scale=scale))
    compiled = torch.compile(copy.deepcopy(model), fullgraph=True, backend="aot_eager")
    outputs = []
    for one in (model, compiled):
        output = one(images())
        output.square().sum().backward()
        outputs.append(output.detach())
    torch.testing.assert_close(outputs[0], outputs[1], rtol=0, atol=0)
    for ours, theirs in zip(mask_parameters(model), mask_parameters(compiled), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-6, atol=1e-7)
    exported = torch.export.export(model.eval(), (images(),))
    assert torch.equal(exported.module()(images()), model(images()))


def test_a_compiled_model_is_masked_inside_its_wrapper() -> None:
    torch._dynamo.reset()
    inner = conv_net().eval()
    compiled = torch.compile(inner, backend="eager")
    before = compiled(images())
    assert mask_(compiled) is compiled
    assert names(compiled) == ["conv.weight", "head.weight"] == names(inner)
    assert not torch.equal(compiled(images()), before)
    assert torch.equal(compiled(images()), inner(images()))
    assert merge_(compiled) is compiled
    assert names(compiled) == []


def test_a_compiled_part_leaves_no_prefix_in_the_names() -> None:
    model = nn.Sequential(OrderedDict(body=torch.compile(conv_net(), backend="eager"), tail=nn.Linear(5, 2)))
    assert names(mask_(model)) == ["body.conv.weight", "body.head.weight", "tail.weight"]


def test_a_module_under_two_names_is_masked_once() -> None:
    shared = nn.Linear(6, 6)
    model = mask_(nn.Sequential(shared, nn.ReLU(), shared))
    assert names(model) == ["0.weight"]
    assert torch.equal(model[0].weight, model[2].weight)
    assert model(torch.ones(1, 6)).shape == (1, 6)


def test_channels_last_weights_hold_the_same_values() -> None:
    model = mask_(conv_net().to(memory_format=torch.channels_last))
    assert torch.equal(model.conv.weight, mask_(conv_net()).conv.weight)


@pytest.mark.parametrize("batch_first", [True, False])
def test_attention_computes_with_its_masked_weights_in_every_path(batch_first: bool) -> None:
    layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=batch_first)
    model = mask_(layer)
    assert names(model) == ["self_attn.in_proj_weight", "self_attn.out_proj.weight", "linear1.weight", "linear2.weight"]
    x = torch.linspace(-1, 1, 2 * 3 * 8).reshape(2, 3, 8)
    trained = model(x)
    trained.square().sum().backward()
    assert all(bool(score.grad.abs().sum() > 0) for score in mask_parameters(model))
    plain = merge_(copy.deepcopy(model))
    model.eval()
    plain.eval()
    with torch.no_grad():
        fast, expected = model(x), plain(x)
    assert torch.equal(fast, expected)
    torch.testing.assert_close(fast, trained.detach(), rtol=1e-4, atol=1e-5)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("options", [{}, {"strategy": "rp", "mode": "rand"}, {"distribution": "normal"}], ids=str)
def test_masking_on_cuda_gives_the_weights_of_the_cpu(options: dict[str, str]) -> None:
    here, there = mask_(conv_net(), MaskConfig(**options)), mask_(conv_net().cuda(), MaskConfig(**options))
    assert torch.equal(here.conv.weight, there.conv.weight.cpu())
    assert torch.equal(here.conv.weight, copy.deepcopy(here).cuda().conv.weight.cpu())
