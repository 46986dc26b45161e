"""Weights made together when a forward begins are those that each would make for itself."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize
from torch.utils.checkpoint import checkpoint

from pemn_compress.config import MaskConfig
from pemn_compress.density import ramp_density
from pemn_compress.forward_span import attached, detach
from pemn_compress.masked_weight import MaskChain
from pemn_compress.masking import mask_, mask_parameters, masked_weights
from pemn_compress.straight_through import StraightThrough
from pemn_compress.straight_through_many import StraightThroughFixed, StraightThroughMany
from pemn_compress.together import Together


class Net(nn.Module):
    """Two heads on one body, which may be run under checkpointing."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(nn.Linear(12, 8), nn.ReLU(), nn.Linear(8, 8))
        self.one, self.two, self.unused = nn.Linear(8, 3), nn.Linear(8, 2), nn.Linear(4, 4)
        self.recompute = self.fails = False

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x = checkpoint(self.body, x, use_reentrant=False) if self.recompute else self.body(x)
        if self.fails:
            raise ValueError("no")
        return self.one(x.detach()), self.two(x)


def net(**options: object) -> Net:
    model = Net()
    mask_(model, MaskConfig(**options))  # type: ignore[arg-type]
    return model


def inputs() -> torch.Tensor:
    return torch.linspace(-1, 1, 48).reshape(4, 12)


def gradients(model: Net) -> dict[str, torch.Tensor | None]:
    model.zero_grad(set_to_none=True)
    one, two = model(inputs())
    (one.square().sum() + two.sum()).backward()
    return {name: parameter.grad for name, parameter in model.named_parameters()}


def equal(left: dict[str, torch.Tensor | None], right: dict[str, torch.Tensor | None]) -> bool:
    assert left.keys() == right.keys()
    pairs = ((left[name], right[name]) for name in left)
    return all(
        one is other is None or (one is not None and other is not None and one.equal(other)) for one, other in pairs
    )


def nothing_is_left(model: nn.Module) -> bool:
    """Whether no chain has a part any more, and no module a weight that was made."""
    chains = [module for module in model.modules() if isinstance(module, MaskChain)]
    owners = [module for module in model.modules() if any(key.startswith("_made") for key in module.__dict__)]
    return all(chain.slot.part is None for chain in chains) and not owners


def counted(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """Have all that makes weights say so, and how many."""
    made: list[tuple[str, int]] = []

    def watch(owner: object, name: str, label: str, count: Callable[..., int]) -> None:
        real = getattr(owner, name)

        def call(*found: object) -> object:
            answer = real(*found)
            if answer is not None:
                made.append((label, count(*found)))
            return answer

        monkeypatch.setattr(owner, name, call)

    watch(StraightThroughFixed, "apply", "StraightThroughFixed", lambda learners, *_: len(learners))
    watch(StraightThroughMany, "apply", "StraightThroughMany", lambda parts, *_: len(parts))
    watch(StraightThrough, "apply", "StraightThrough", lambda *_: 1)
    return made


LEARNED = [
    {},
    {"scale": "channel"},
    {"strategy": "rp", "values": 7, "learn_values": True},
    {"strategy": "rp", "values": 7, "learn_values": True, "scale": "channel"},
    {"strategy": "mp", "learn_values": True},
]
whatever_is_learned = pytest.mark.parametrize("more", LEARNED, ids=lambda more: " ".join(more) or "scores")


@whatever_is_learned
@pytest.mark.parametrize("alphabet", ["keep", "sign", "ternary"])
@pytest.mark.parametrize("learner", ["threshold", "topk", "topk-global"])
def test_the_same_outputs_and_gradients(learner: str, alphabet: str, more: dict[str, object]) -> None:
    model = net(learner=learner, alphabet=alphabet, **more)
    apart = one_by_one(model)
    for one, other in zip(model(inputs()), apart(inputs()), strict=True):
        assert torch.equal(one, other)
    found = gradients(model)
    assert equal(found, gradients(apart))
    assert found["unused.parametrizations.weight.original"] is None
    assert found["body.0.parametrizations.weight.original"] is not None


def one_by_one(model: Net) -> Net:
    """A copy whose masks make their own weights each."""
    apart = copy.deepcopy(model)
    for span in attached(apart):
        if isinstance(span, Together):
            span._buckets.clear()
    return apart


def test_a_part_of_the_model_may_have_come_to_its_density_before_the_rest() -> None:
    model = net(learner="topk-global", density=0.1)
    ramp_density(model, 0.1, 0.5)
    model.two.eval()
    expected = gradients(one_by_one(model))
    assert equal(gradients(model), expected)
    model.two.train()
    assert not equal(gradients(model), expected)


def test_they_are_made_once_a_forward_and_forgotten_after_it(monkeypatch: pytest.MonkeyPatch) -> None:
    model, other = net(learner="topk"), net(scale="channel", strategy="rp", values=7, learn_values=True)
    made = counted(monkeypatch)
    gradients(model)
    assert made == [("StraightThroughFixed", 5)]
    assert nothing_is_left(model)
    made.clear()
    with torch.no_grad():
        model(inputs())
    assert made == 4 * [("StraightThrough", 1)]
    made.clear()
    gradients(other)
    assert made == [("StraightThroughMany", 5)]


@pytest.mark.parametrize("learner", ["threshold", "topk"])
def test_weights_that_torch_caches_go_back_more_than_once(learner: str) -> None:
    model = net(learner=learner)
    expected = gradients(model)
    with parametrize.cached():
        for _ in range(2):
            assert equal(gradients(model), expected)


class UsesTwice(nn.Linear):
    """A layer that uses its weight twice."""

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:  # type: ignore[override]
        weight = self.weight
        return x @ weight, x @ weight.T


def test_a_layer_may_use_its_weight_twice_and_send_both_gradients_back_one_by_one() -> None:
    model = UsesTwice(12, 12)
    mask_(model)
    one, two = model(inputs())
    one.sum().backward()
    two.sum().backward()
    assert masked_weights(model)[0][2].grad is not None


@pytest.mark.parametrize("more", [{}, {"learner": "topk"}, {"scale": "channel"}])
@pytest.mark.parametrize("recompute", [False, True])
def test_frozen_scores_make_weights_without_a_gradient(recompute: bool, more: dict[str, object]) -> None:
    model = net(**more)
    model.recompute = recompute
    expected = gradients(model)
    for parameter in list(mask_parameters(model))[: 2 if "scale" in more else 1]:
        parameter.requires_grad_(False)
    found = gradients(model)
    frozen = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    assert equal({**found, **dict.fromkeys(frozen)}, {**expected, **dict.fromkeys(frozen)})
    assert all(found[name] is None for name in frozen)
    seen: list[bool] = []
    model.body[0].register_forward_hook(lambda layer, *_: seen.append(layer.weight.requires_grad))
    model(inputs())
    assert seen == [False]


@pytest.mark.filterwarnings("ignore:`torch.jit.trace")  # is deprecated, and still there
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")  # branches on sizes
@pytest.mark.parametrize("learner", ["threshold", "topk"])
def test_a_trace_computes_its_weights(learner: str) -> None:
    model = net(learner=learner)
    with torch.no_grad() if learner != "threshold" else contextlib.nullcontext():
        traced = torch.jit.trace(model, inputs(), check_trace=False)
    for found, expected in zip(traced(inputs()), model(inputs()), strict=True):
        torch.testing.assert_close(found, expected)


def test_values_of_large_tensors_are_not_made_beside_others(monkeypatch: pytest.MonkeyPatch) -> None:
    from pemn_compress import together

    monkeypatch.setattr(together, "_LARGE", 64)
    for more, count in ({}, 5), ({"scale": "channel"}, 4):  # one of 96 scores
        model = net(**more)
        assert [len(each._places) for hook in model._forward_pre_hooks.values() for each in hook.__self__._buckets] == [
            count
        ]
        assert gradients(model)["body.0.parametrizations.weight.original"] is not None


def test_layers_find_what_is_made_without_a_call_for_each(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[MaskChain] = []
    real = MaskChain.forward
    monkeypatch.setattr(MaskChain, "forward", lambda chain: (asked.append(chain), real(chain))[1])
    model = net()
    gradients(model)
    assert len(asked) == 1
    with torch.no_grad():
        model(inputs())
    assert len(asked) == 1 + 4


def test_a_weight_cannot_be_assigned() -> None:
    model = net()
    with pytest.raises(RuntimeError, match="MaskedWeight does not implement right_inverse"):
        model.two.weight = torch.zeros(2, 8)


@whatever_is_learned
def test_checkpointing_finds_the_same_gradients(more: dict[str, object]) -> None:
    model = net(**more)
    expected = gradients(model)
    model.recompute = True
    assert equal(gradients(model), expected)


def test_losses_may_go_back_one_after_another() -> None:
    model = net()
    expected = gradients(model)
    model.zero_grad(set_to_none=True)
    one, two = model(inputs())
    one.square().sum().backward()
    two.sum().backward()
    assert equal({name: parameter.grad for name, parameter in model.named_parameters()}, expected)


class Recurrent(nn.Module):
    """Reads one weight several times in a forward."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(12, 12)

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        return [self.layer(x), self.layer(2 * x), self.layer(3 * x)]


@pytest.mark.parametrize("learner", ["threshold", "topk"])
def test_losses_of_one_weight_may_go_back_one_after_another(learner: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = Recurrent()
    mask_(model, MaskConfig(learner=learner))
    made = counted(monkeypatch)
    score = masked_weights(model)[0][2]
    torch.stack(model(inputs())).square().sum().backward()
    expected, score.grad = score.grad, None
    assert expected is not None
    for out in model(inputs()):
        out.square().sum().backward()
    torch.testing.assert_close(score.grad, expected)
    assert made == 2 * [("StraightThroughFixed", 1)]


@pytest.mark.parametrize(("enough", "soon"), [(1, True), (1 << 20, False)])
def test_gradients_of_a_part_are_complete_before_what_is_ahead_of_it(
    monkeypatch: pytest.MonkeyPatch, enough: int, soon: bool
) -> None:
    from pemn_compress import together

    monkeypatch.setattr(together, "_ENOUGH", enough)
    model = mask_(nn.Sequential(nn.Linear(12, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 3)))
    seen: list[str] = []
    for name, _, score in masked_weights(model):
        score.register_post_accumulate_grad_hook(lambda _, name=name: seen.append(name))
    model[0].register_full_backward_pre_hook(lambda *_: seen.append("ahead"))
    model(inputs())[:, :2].sum().backward()
    assert seen.count("ahead") == 1
    assert set(seen[: seen.index("ahead")]) == ({"2.weight", "4.weight"} if soon else set())
    assert set(seen) == {"0.weight", "2.weight", "4.weight", "ahead"}


def test_gradients_are_those_of_one_part(monkeypatch: pytest.MonkeyPatch) -> None:
    from pemn_compress import together

    whole = gradients(net(learner="topk-global"))
    monkeypatch.setattr(together, "_ENOUGH", 70)
    model = net(learner="topk-global")
    assert equal(gradients(model), whole)
    model.recompute = True
    assert equal(gradients(model), whole)


def test_a_compiled_part_of_the_model_makes_its_own() -> None:
    model = net()
    expected = gradients(model)
    model.body.compile(backend="aot_eager", fullgraph=True)
    for _ in range(2):
        assert equal(gradients(model), expected)


class Bootstraps(nn.Module):
    """Takes its own output without a gradient as the target, before it is asked for one with a gradient."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(12, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            target = self.layer(x) - 1
        return (self.layer(x) - target).square().sum()


def test_weights_asked_for_without_gradients_first() -> None:
    model = Bootstraps()
    mask_(model)
    model(inputs()).backward()
    gradient = masked_weights(model)[0][2].grad
    weight = model.layer.weight.detach().requires_grad_()
    target = nn.functional.linear(inputs(), weight.detach()) - 1
    (nn.functional.linear(inputs(), weight) - target).square().sum().backward()
    assert gradient is not None
    torch.testing.assert_close(gradient, weight.grad * masked_weights(model)[0][1].value)


def test_a_forward_that_fails_leaves_no_weight_behind() -> None:
    model = net()
    model.fails = True
    with pytest.raises(ValueError, match="no"):
        model(inputs())
    assert nothing_is_left(model)


def test_scores_may_change_between_forwards_but_not_before_gradients_that_need_them() -> None:
    model = net(learner="topk")
    with torch.no_grad():
        masked_weights(model)[0][2].neg_()
    _, two = model(inputs())
    with torch.no_grad():
        masked_weights(model)[0][2].neg_()
    with pytest.raises(RuntimeError, match="of a mask were changed in place between forward and backward"):
        two.sum().backward()


def test_neither_may_fixed_values() -> None:
    model = net()
    _, two = model(inputs())
    masked_weights(model)[0][1].value.neg_()
    with pytest.raises(RuntimeError, match=r"in ?place"):
        two.sum().backward()


@pytest.mark.parametrize("place", [1, 2])
def test_neither_may_what_else_is_learned(place: int) -> None:
    model = net(scale="channel", strategy="rp", values=7, learn_values=True)
    _, two = model(inputs())
    with torch.no_grad():
        list(mask_parameters(model))[place].neg_()
    with pytest.raises(RuntimeError, match="of a mask were changed in place between forward and backward"):
        two.sum().backward()


@pytest.mark.parametrize("place", [1, 2])
def test_what_is_frozen_gets_no_gradient(place: int) -> None:
    model = net(scale="channel", strategy="rp", values=7, learn_values=True)
    expected = gradients(model)
    frozen = list(mask_parameters(model))[place].requires_grad_(False)
    expected = {name: None if parameter is frozen else expected[name] for name, parameter in model.named_parameters()}
    assert equal(gradients(model), expected)


def test_a_copy_has_its_own() -> None:
    model = net()
    twin = copy.deepcopy(model)
    expected = gradients(model)
    with torch.no_grad():
        for _, _, score in masked_weights(model):
            score.neg_()
    assert equal(gradients(twin), expected)
    assert not equal(gradients(model), expected)


def test_what_else_is_registered_on_a_weight_counts() -> None:
    class Half(nn.Module):
        def forward(self, weight: torch.Tensor) -> torch.Tensor:
            return weight / 2

    model = net()
    before = model(inputs())[1] - model.two.bias
    parametrize.register_parametrization(model.two, "weight", Half())
    torch.testing.assert_close(model(inputs())[1] - model.two.bias, before / 2)


def test_nothing_is_left_once_detached() -> None:
    model, plain = net(learner="topk-global"), nn.Linear(2, 2)
    detach(model)
    for hooks in ("_forward_pre_hooks", "_forward_hooks", "_forward_hooks_always_called"):
        assert getattr(model, hooks) == getattr(plain, hooks)
    assert gradients(model)["two.parametrizations.weight.original"] is not None
