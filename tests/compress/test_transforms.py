"""`torch.func` over a masked model: other scores, gradients of each sample, tangents, several models at once."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, hessian, jvp, stack_module_state, vmap

from pemn_compress.config import MaskConfig
from pemn_compress.masking import mask_, masked_weights

Params = dict[str, Tensor]

CONFIGS = {
    **{
        f"{learner} {alphabet}": MaskConfig(learner=learner, alphabet=alphabet)
        for learner in ("threshold", "topk", "topk-global")
        for alphabet in ("keep", "sign", "ternary")
    },
    "channel scale": MaskConfig(scale="channel"),
    "channel scale, joint": MaskConfig(scale="channel", learner="topk-global"),
    "learned values": MaskConfig(strategy="rp", values=7, learn_values=True, alphabet="ternary"),
}


@pytest.fixture(params=CONFIGS.values(), ids=list(CONFIGS))
def config(request: pytest.FixtureRequest) -> MaskConfig:
    found: MaskConfig = request.param
    return found


def net(config: MaskConfig) -> nn.Module:
    torch.manual_seed(0)
    return mask_(nn.Sequential(nn.Linear(12, 8), nn.Tanh(), nn.Linear(8, 3)), config)


def batch() -> tuple[Tensor, Tensor]:
    return torch.randn(5, 12, generator=torch.Generator().manual_seed(1)), torch.arange(5) % 3


def others(model: nn.Module) -> Params:
    """Parameters that choose other masks than the model's own."""
    return {
        name: -value.detach().roll(1) if name.endswith(".original") else value.detach() * 1.5
        for name, value in model.named_parameters()
    }


def with_(model: nn.Module, params: Mapping[str, Tensor]) -> nn.Module:
    model = copy.deepcopy(model)
    model.load_state_dict(dict(params), strict=False)
    return model


def loss(model: nn.Module, params: Params, x: Tensor, y: Tensor) -> Tensor:
    return nn.functional.cross_entropy(functional_call(model, params, (x,)), y)


def plain_gradients(model: nn.Module, x: Tensor, y: Tensor) -> Params:
    named = dict(model.named_parameters())
    found = torch.autograd.grad(nn.functional.cross_entropy(model(x), y), list(named.values()))
    return dict(zip(named, found, strict=True))


def assert_close(found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    torch.testing.assert_close(dict(found), dict(expected), rtol=1e-5, atol=1e-6)


def test_replaced_scores_give_their_masks_and_leave_the_model_as_it_is(config: MaskConfig) -> None:
    model, (x, _) = net(config), batch()
    params, before = others(model), model(x)
    after = functional_call(model, params, (x,))
    assert torch.equal(after, with_(model, params)(x))
    assert not torch.equal(after, before)
    assert torch.equal(model(x), before)


def test_gradients_are_those_of_autograd(config: MaskConfig) -> None:
    model, (x, y) = net(config), batch()
    params = others(model)
    found = grad(lambda each: loss(model, each, x, y))(params)
    assert_close(found, plain_gradients(with_(model, params), x, y))
    assert all(bool(value.any()) for value in found.values())


def test_the_gradient_of_each_sample(config: MaskConfig) -> None:
    model, (x, y) = net(config), batch()
    params = others(model)
    each = vmap(grad(lambda *found: loss(model, *found)), in_dims=(None, 0, 0))(params, x, y)
    changed = with_(model, params)
    for index in range(len(x)):
        expected = plain_gradients(changed, x[index], y[index])
        assert_close({name: value[index] for name, value in each.items()}, expected)


def test_several_models_in_one_call(config: MaskConfig) -> None:
    models = [net(config), with_(net(config), others(net(config)))]
    x, y = batch()
    params, _ = stack_module_state(models)
    outputs = vmap(lambda each: functional_call(models[0], each, (x,)))(params)
    found = vmap(grad(lambda each: loss(models[0], each, x, y)))(params)
    for index, model in enumerate(models):
        torch.testing.assert_close(outputs[index], model(x))
        assert_close({name: value[index] for name, value in found.items()}, plain_gradients(model, x, y))


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:FutureWarning")  # torch's own, in jvp
def test_tangents_agree_with_gradients(config: MaskConfig) -> None:
    model, (x, y) = net(config), batch()
    params = others(model)
    tangents = {name: torch.full_like(value, 0.5) for name, value in params.items()}
    _, found = jvp(lambda each: loss(model, each, x, y), (params,), (tangents,))
    gradients = plain_gradients(with_(model, params), x, y)
    expected = sum(float((gradients[name] * tangents[name]).sum()) for name in params)
    assert float(found) == pytest.approx(expected, rel=1e-4, abs=1e-6)


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:FutureWarning")
def test_second_derivatives_are_those_of_autograd() -> None:
    model, (x, y) = net(MaskConfig(learner="topk")), batch()
    scores = {name: value.detach() for name, value in model.named_parameters() if "parametrizations" in name}
    found = hessian(lambda each: loss(model, each, x, y))(scores)
    named = {name: value for name, value in model.named_parameters() if name in scores}
    first = torch.autograd.grad(nn.functional.cross_entropy(model(x), y), list(named.values()), create_graph=True)
    for name, gradient in zip(named, first, strict=True):
        second = torch.autograd.grad(gradient.flatten()[0], list(named.values()), retain_graph=True)
        for other, expected in zip(named, second, strict=True):
            row = found[name][other].reshape(-1, *named[other].shape)[0]
            torch.testing.assert_close(row, expected, rtol=1e-4, atol=1e-6)


def test_compiled_with_its_transform() -> None:
    model, (x, y) = net(MaskConfig(learner="topk")), batch()
    each = vmap(grad(lambda *found: loss(model, *found)), in_dims=(None, 0, 0))
    params = others(model)
    assert_close(torch.compile(each, backend="aot_eager", fullgraph=True)(params, x, y), each(params, x, y))


def test_losses_of_several_parameters_may_go_back_later(config: MaskConfig) -> None:
    model, (x, y) = net(config), batch()
    one = others(model)
    other = {name: value * 0.25 if name.startswith("0.") else value.clone() for name, value in one.items()}
    for value in (*one.values(), *other.values()):
        value.requires_grad_()
    losses = [loss(model, params, x, y) for params in (other, one)]
    for params, outcome in zip((other, one), losses, strict=True):
        found = dict(zip(params, torch.autograd.grad(outcome, list(params.values())), strict=True))
        assert_close(found, plain_gradients(with_(model, params), x, y))


@pytest.mark.parametrize("learner", ["topk-global", "threshold"])
def test_a_transform_between_forward_and_backward_changes_nothing(learner: str) -> None:
    model, (x, y) = net(MaskConfig(learner=learner, scale="channel")), batch()
    expected = plain_gradients(model, x, y)
    model.zero_grad(set_to_none=True)
    outcome = nn.functional.cross_entropy(model(x), y)
    grad(lambda each: loss(model, each, x, y))(others(model))
    outcome.backward()
    assert_close({name: value.grad for name, value in model.named_parameters() if value.grad is not None}, expected)


class Adapts(nn.Module):
    """Takes a step on the scores of a part of itself in its own forward, as meta-learning does."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body, self.head = nn.Linear(12, 8), nn.Linear(8, 3)

    def forward(self, x: Tensor, params: Params) -> Tensor:
        output: Tensor = self.head(torch.tanh(functional_call(self.body, params, (x,)) + self.body(x)))
        return output


def test_a_part_with_other_scores_within_a_forward() -> None:
    model = mask_(Adapts(), MaskConfig())
    x, _ = batch()
    params = others(model.body)
    expected = model.head(torch.tanh(with_(model.body, params)(x) + model.body(x)))
    assert torch.equal(model(x, params), expected)
    for _, _, score in masked_weights(model):
        assert score.grad is None
    model(x, params).sum().backward()
    assert all(score.grad is not None for _, _, score in masked_weights(model))
