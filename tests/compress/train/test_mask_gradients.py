"""Gradients of scores in a step of `fit`: those that autograd finds, to the bit."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize
from torch.utils.checkpoint import checkpoint

from pemn_compress import at_once
from pemn_compress.config import MaskConfig
from pemn_compress.data import Splits
from pemn_compress.density import ramp_density
from pemn_compress.masking import mask_, mask_parameters, masked_weights
from pemn_compress.penalty import penalty
from pemn_compress.straight_through import StraightThrough
from pemn_compress.straight_through_many import StraightThroughFixed, StraightThroughMany
from pemn_compress.train import loop, mask_gradients
from pemn_compress.train.building import build_model
from pemn_compress.train.config import TrainConfig
from pemn_compress.train.loop import fit
from pemn_compress.train.mask_gradients import MaskGradients
from pemn_compress.train.precision import Precision
from pemn_compress.train.run_config import RunConfig

Gradients = dict[str, torch.Tensor | None]
ASKED = mask_gradients.casts_keep_gradients


@pytest.fixture(autouse=True)
def leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no autocast, leaves serve in every torch."""
    monkeypatch.setattr(mask_gradients, "casts_keep_gradients", lambda: True)


class Net(nn.Module):
    """Convolutions, one of them 1x1 and one used twice, a layer beyond the loops, and one that is not used."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.one, self.two, self.twice = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 1), nn.Conv2d(8, 8, 3, padding=1)
        self.large, self.last, self.unused = nn.Linear(128, 260), nn.Linear(260, 4), nn.Linear(4, 4)
        self.recompute = False

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.two(self.one(x).relu())
        x = checkpoint(self._twice, x, use_reentrant=False) if self.recompute else self._twice(x)
        out: torch.Tensor = self.last(self.large(x.flatten(1)).relu())
        return out

    def _twice(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.twice(self.twice(x).relu())
        return out


def net(**options: Any) -> Net:
    model = Net()
    mask_(model, MaskConfig(**options))
    return model


def images() -> torch.Tensor:
    return torch.linspace(-1, 1, 2 * 3 * 36).sin().reshape(2, 3, 6, 6)


def loss_of(model: nn.Module) -> torch.Tensor:
    return model(images()).square().sum()


def gradients(
    model: nn.Module, *, wanted: bool, loss_of: Callable[[nn.Module], torch.Tensor] = loss_of, steps: int = 2
) -> Gradients:
    """Those of the last of some steps, between which the parameters move."""
    block = MaskGradients(model, wanted=wanted)
    for step in range(steps):
        if step:
            with torch.no_grad():
                for parameter in model.parameters():
                    parameter.sub_(parameter.grad if parameter.grad is not None else 0, alpha=0.01)
        model.zero_grad(set_to_none=True)
        with block:
            loss_of(model).backward()
    return {name: parameter.grad for name, parameter in model.named_parameters()}


def assert_equal(left: Gradients, right: Gradients) -> None:
    assert left.keys() == right.keys()
    for name, one in left.items():
        other = right[name]
        assert (one is None) == (other is None), name
        assert one is None or other is None or torch.equal(one, other), name


def assert_same(
    model: nn.Module, *, loss_of: Callable[[nn.Module], torch.Tensor] = loss_of, steps: int = 2
) -> Gradients:
    """Both ways must find the same; return it."""
    expected = gradients(copy.deepcopy(model), wanted=False, loss_of=loss_of, steps=steps)
    found = gradients(model, wanted=True, loss_of=loss_of, steps=steps)
    assert_equal(found, expected)
    assert not [key for module in model.modules() for key in module.__dict__ if key.startswith("_made")]
    return found


@pytest.mark.parametrize("way", ["contiguous", "channels_last", "no loops", "recomputed"])
@pytest.mark.parametrize("alphabet", ["keep", "sign", "ternary"])
@pytest.mark.parametrize("learner", ["threshold", "topk", "topk-global"])
def test_they_are_those_of_autograd(learner: str, alphabet: str, way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = net(learner=learner, alphabet=alphabet)
    if way == "channels_last":
        model.to(memory_format=torch.channels_last)
    if way == "no loops":
        monkeypatch.setattr(at_once, "compiled", lambda: None)
    model.recompute = way == "recomputed"
    assert model.large.weight.numel() > at_once._MOST
    found = assert_same(model)
    assert found["unused.parametrizations.weight.original"] is None
    assert found["large.parametrizations.weight.original"] is not None


@pytest.mark.parametrize("more", [{}, {"scale": "channel"}, {"strategy": "rp", "values": 7, "learn_values": True}])
def test_masks_are_leaves_where_nothing_else_is_learned(more: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    def in_two_forwards(model: nn.Module) -> torch.Tensor:
        return loss_of(model) + loss_of(model)

    model, calls = net(**more), []
    for kind in StraightThrough, StraightThroughFixed, StraightThroughMany:
        real = kind.apply
        monkeypatch.setattr(kind, "apply", lambda *found, real=real: (calls.append(1), real(*found))[1])
    found = gradients(model, wanted=True, loss_of=in_two_forwards)
    assert len(calls) == (4 if more else 0)
    assert found["one.parametrizations.weight.original"] is not None


def test_a_dense_net_goes_back_as_ever() -> None:
    assert_same(Net())


@pytest.mark.parametrize("alphabet", ["keep", "ternary"])
def test_equal_magnitudes_go_the_longer_way(alphabet: str) -> None:
    model = net(learner="topk", alphabet=alphabet)
    with torch.no_grad():
        masked_weights(model)[0][2].fill_(0.25)
    assert_same(model, steps=1)


def test_frozen_scores_have_no_gradient_and_may_thaw() -> None:
    model = net()
    first, second, *_ = mask_parameters(model)
    first.requires_grad_(False)
    assert assert_same(model)["one.parametrizations.weight.original"] is None
    block = MaskGradients(model)
    for frozen, learns in ((first, second), (second, first)):
        frozen.requires_grad_(False)
        learns.requires_grad_(True)
        model.zero_grad(set_to_none=True)
        with block:
            loss_of(model).backward()
        assert frozen.grad is None
        assert learns.grad is not None


def test_what_else_reaches_the_scores_adds_up() -> None:
    assert_same(net(), loss_of=lambda model: loss_of(model) + 1e-3 * penalty(model))


def test_losses_add_up_over_forwards_and_backward_passes_of_a_step() -> None:
    def one_by_one(model: nn.Module) -> torch.Tensor:
        out = model(images())
        out[:, 0].sum().backward(retain_graph=True)
        model(2 * images()).sum().backward()
        loss: torch.Tensor = out[:, 1].square().sum()
        return loss

    model = net()
    expected = gradients(copy.deepcopy(model), wanted=False, loss_of=one_by_one, steps=1)
    found = gradients(model, wanted=True, loss_of=one_by_one, steps=1)
    for name, one in found.items():
        other = expected[name]
        assert (one is None) == (other is None)
        if one is not None and other is not None:
            torch.testing.assert_close(one, other)


class Sum(nn.Module):
    """Backward hands one piece of memory to both weights, and to what is not masked."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.one, self.two, self.delta = nn.Linear(6, 4), nn.Linear(6, 4), nn.Parameter(torch.zeros(4, 6))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = x.flatten(1)[:, :6] @ (self.one.weight.t() + self.two.weight.t() + self.delta.t())
        return out


@pytest.mark.parametrize("learner", ["threshold", "topk"])
@pytest.mark.parametrize("alphabet", ["keep", "sign", "ternary"])
def test_gradients_that_share_their_memory_stay_apart(alphabet: str, learner: str) -> None:
    model = Sum()
    mask_(model, MaskConfig(alphabet=alphabet, learner=learner))
    found = assert_same(model)
    one, two = (found[f"{name}.parametrizations.weight.original"] for name in ("one", "two"))
    assert one is not None
    assert two is not None
    assert not torch.equal(one, two)


def test_what_is_registered_on_a_weight_lasts_for_its_step() -> None:
    def doubled(model: nn.Module) -> torch.Tensor:
        layer = model.get_submodule("two")

        def pre(*_: object) -> None:
            layer.weight.register_hook(lambda grad: 2 * grad)  # type: ignore[operator,union-attr]

        handle = layer.register_forward_pre_hook(pre)
        try:
            return loss_of(model)
        finally:
            handle.remove()

    assert_same(net(), loss_of=doubled, steps=3)


def test_evaluation_in_a_step_has_the_final_density() -> None:
    def distilled(model: nn.Module) -> torch.Tensor:
        out = model(images())
        with torch.no_grad():
            target = model.eval()(images())
        model.train()
        loss: torch.Tensor = (out - target).square().sum()
        return loss

    model = net(learner="topk-global", density=0.1)
    ramp_density(model, 0.1, 0.9)
    assert_same(model, loss_of=distilled)


def test_scores_may_change_between_forwards_of_a_step() -> None:
    def turned(model: nn.Module) -> torch.Tensor:
        loss_of(model).backward()
        with torch.no_grad():
            masked_weights(model)[0][2].neg_()
        return loss_of(model)

    assert_same(net(), loss_of=turned)


@pytest.mark.parametrize("alphabet", ["keep", "ternary"])
@pytest.mark.parametrize("learner", ["threshold", "topk"])
def test_gradients_follow_from_nothing_that_has_changed(learner: str, alphabet: str) -> None:
    model = net(learner=learner, alphabet=alphabet)
    block, (_, weight, score) = MaskGradients(model), masked_weights(model)[0]
    changing = [weight.unmasked(), score] if (learner, alphabet) == ("topk", "keep") else [weight.unmasked()]
    for changed in changing:

        def step(changed: torch.Tensor = changed) -> None:
            with block:
                loss = loss_of(model)
                with torch.no_grad():
                    changed.neg_()
                loss.backward()

        with pytest.raises(RuntimeError, match="were changed in place between forward and backward"):
            step()
        assert score.grad is None
        model.zero_grad(set_to_none=True)
        with block:
            loss_of(model).backward()
        found = {name: parameter.grad for name, parameter in model.named_parameters()}
        assert_equal(found, gradients(copy.deepcopy(model), wanted=False, steps=1))
        model.zero_grad(set_to_none=True)


@pytest.mark.parametrize("where", ["", "one"], ids=["before the model", "before its first layer"])
def test_scores_may_change_until_they_are_asked_for(where: str) -> None:
    def centred(*, wanted: bool) -> Gradients:
        model = net()

        def centre(*_: object) -> None:
            with torch.no_grad():
                for _, _, score in masked_weights(model):
                    score.sub_(score.mean())

        model.get_submodule(where).register_forward_pre_hook(centre)
        return gradients(model, wanted=wanted)

    assert_equal(centred(wanted=True), centred(wanted=False))


def test_what_is_replaced_or_registered_between_two_steps_counts() -> None:
    class Doubled(nn.Module):
        def forward(self, weight: torch.Tensor) -> torch.Tensor:
            return 2 * weight

    def changed(way: str, *, wanted: bool) -> Gradients:
        model = net()
        block = MaskGradients(model, wanted=wanted)
        for step in range(2):
            model.zero_grad(set_to_none=True)
            with block:
                loss_of(model).backward()
            if step:
                continue
            chain = model.one.parametrizations.weight  # type: ignore[union-attr]
            if way == "parametrization":
                parametrize.register_parametrization(model.one, "weight", Doubled())
            elif way == "hook":
                chain.original.register_hook(lambda grad: 3 * grad)  # type: ignore[union-attr]
            else:
                mask = chain[0]  # type: ignore[index]
                mask.value = -mask.value
        return {name: parameter.grad for name, parameter in model.named_parameters()}

    for way in ("parametrization", "hook", "values"):
        assert_equal(changed(way, wanted=True), changed(way, wanted=False))


def test_what_comes_after_a_step_is_autograds() -> None:
    copies: list[Net] = []
    model = net()
    handle = model.large.register_forward_hook(lambda *_: copies.append(copy.deepcopy(model)))
    with MaskGradients(model):
        loss_of(model).backward()
    handle.remove()
    copies[0].large._forward_hooks.clear()
    for each in (model, *copies):
        each.zero_grad(set_to_none=True)
        loss_of(each).backward()
        assert all(score.grad is not None for name, _, score in masked_weights(each) if name != "unused.weight")


@pytest.mark.parametrize("trusted", [True, False])
def test_layers_used_with_gradients_and_without_learn_under_autocast(
    trusted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def loss_of(model: nn.Module) -> torch.Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            with torch.no_grad():
                target = model(images())
            return (model(images()) - 2 * target).square().sum()

    monkeypatch.setattr(mask_gradients, "casts_keep_gradients", ASKED if trusted else lambda: False)
    model = net()
    assert trusted or MaskGradients(model)._leaves == []
    model.twice = nn.Identity()  # used several times, whose gradients add up in the narrow type
    assert_same(model, loss_of=loss_of)


def test_a_copy_made_in_a_forward_has_weights_of_its_own() -> None:
    copies: list[nn.Module] = []
    model = net()
    handle = model.two.register_forward_hook(lambda layer, *_: copies.append(copy.deepcopy(layer)))
    model.large.register_forward_hook(lambda *_: copies.append(copy.deepcopy(model)))
    for block in MaskGradients(model), contextlib.nullcontext():
        copies.clear()
        with block:
            loss_of(model).backward()
        layer, whole = copies
        for owner, copied in ((model.two, layer), (model.two, whole.two)):
            with torch.no_grad():
                copied.parametrizations.weight.original.neg_()  # type: ignore[union-attr,operator]
            assert not torch.equal(owner.weight, copied.weight)  # type: ignore[arg-type]
            assert copied.weight.requires_grad  # type: ignore[union-attr]
    handle.remove()
    whole.large._forward_hooks.clear()  # type: ignore[union-attr]
    assert_same(whole)


def test_replicas_make_their_own_weights() -> None:
    model = net()
    with MaskGradients(model):
        model._replicate_for_data_parallel()(images()).sum().backward()  # type: ignore[no-untyped-call]
    assert masked_weights(model)[0][2].grad is not None
    assert not [key for module in model.modules() for key in module.__dict__ if key.startswith("_made")]


def test_what_comes_before_a_step_stays() -> None:
    model = net()
    once = gradients(model, wanted=True, steps=1)
    once = {name: None if grad is None else grad.clone() for name, grad in once.items()}
    with MaskGradients(model):
        loss_of(model).backward()
    twice = {name: parameter.grad for name, parameter in model.named_parameters()}
    assert_equal(twice, {name: None if grad is None else grad + grad for name, grad in once.items()})


@pytest.mark.parametrize("register", ["register_hook", "register_post_accumulate_grad_hook"])
def test_hooks_of_scores_are_called(register: str) -> None:
    model, seen = net(), []
    getattr(masked_weights(model)[1][2], register)(lambda *_: seen.append(1))
    expected = gradients(net(), wanted=True)
    assert_equal(gradients(model, wanted=True), expected)
    assert seen == [1, 1]


def test_what_else_is_registered_on_a_weight_counts() -> None:
    class Half(nn.Module):
        def forward(self, weight: torch.Tensor) -> torch.Tensor:
            return weight / 2

    model = net()
    parametrize.register_parametrization(model.two, "weight", Half())
    assert_same(model)


def test_a_model_without_any_mask_that_can_be_a_leaf() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(108, 4))
    mask_(model)
    masked_weights(model)[0][2].register_hook(lambda grad: grad)
    assert_same(model)


def test_a_masked_part_of_a_model_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    model = nn.Sequential(Net(), nn.Linear(4, 4))
    mask_(model[0])
    assert_same(model)
    monkeypatch.setattr(StraightThroughFixed, "apply", None)
    gradients(model, wanted=True)


def test_a_forward_without_gradients_in_between() -> None:
    def against_itself(model: nn.Module) -> torch.Tensor:
        with torch.no_grad():
            target = model(images()) - 1
        loss: torch.Tensor = (model(images()) - target).square().sum()
        return loss

    assert_same(net(), loss_of=against_itself)


def test_functions_that_torch_transforms_have_their_own_weights() -> None:
    def as_steep_as_flat(model: nn.Module) -> torch.Tensor:
        slope = torch.func.grad(lambda x: model(x).sum())(images())
        return loss_of(model) * (1 + slope.square().sum().detach())

    assert_same(net(), loss_of=as_steep_as_flat)


def test_other_scores_in_the_block_have_their_own_weights() -> None:
    def with_others(model: nn.Module) -> torch.Tensor:
        name = "one.parametrizations.weight.original"
        other = {name: -model.get_parameter(name)}
        loss: torch.Tensor = loss_of(model) + torch.func.functional_call(model, other, images()).square().sum()
        return loss

    model = net()
    expected = gradients(copy.deepcopy(model), wanted=False, loss_of=with_others, steps=1)
    found = gradients(model, wanted=True, loss_of=with_others, steps=1)
    for name, one in found.items():
        if one is not None:
            torch.testing.assert_close(one, expected[name])


@pytest.mark.parametrize("learner", ["threshold", "topk"])
@pytest.mark.parametrize("before", [False, True], ids=["scores alone", "scores and values"])
@pytest.mark.parametrize("width", [8, 160], ids=["small", "large"])
def test_a_fused_optimizer_finds_gradients_in_the_order_of_the_scores(width: int, before: bool, learner: str) -> None:
    moved = []
    for wanted in (False, True):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Conv2d(3, width, 3), nn.Conv2d(width, 30, 3), nn.Conv2d(30, 8, 1))
        if before:
            model.to(memory_format=torch.channels_last)
        mask_(model, MaskConfig(learner=learner))
        for _, _, score in masked_weights(model):
            score.data = score.data.contiguous(memory_format=torch.channels_last)
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, fused=True)
        with MaskGradients(model, wanted=wanted):
            loss_of(model).backward()
        for _, _, score in masked_weights(model)[:2]:
            assert score.grad is not None
            assert score.grad.stride() == score.stride()
        optimizer.step()
        moved.append(model.state_dict())
    for name, value in moved[0].items():
        assert torch.equal(value, moved[1][name]), name


def test_scores_that_come_to_lie_elsewhere_are_found() -> None:
    model = net()
    expected = gradients(copy.deepcopy(model), wanted=False, steps=1)
    block = MaskGradients(model)
    with block:
        loss_of(model).backward()
    for _, _, score in masked_weights(model):
        score.data = -score.data
        score.data = -score.data
    model.zero_grad(set_to_none=True)
    with block:
        loss_of(model).backward()
    assert_equal({name: parameter.grad for name, parameter in model.named_parameters()}, expected)


@pytest.mark.parametrize("late", [False, True], ids=["in its forward", "after its backward"])
def test_a_step_that_fails_leaves_nothing_behind(late: bool) -> None:
    model = net()
    expected = gradients(copy.deepcopy(model), wanted=False, steps=1)
    block = MaskGradients(model)

    def fails(*_: object) -> None:
        raise KeyboardInterrupt("no")

    handle = model.twice.register_forward_hook(fails) if not late else None

    def step() -> None:
        with block:
            loss_of(model).backward()
            fails()

    with pytest.raises(KeyboardInterrupt, match="no"):
        step()
    if handle is not None:
        handle.remove()
    assert all(score.grad is None for _, _, score in masked_weights(model))
    assert not [key for module in model.modules() for key in module.__dict__ if key.startswith("_made")]
    model.zero_grad(set_to_none=True)
    with block:
        loss_of(model).backward()
    assert_equal({name: parameter.grad for name, parameter in model.named_parameters()}, expected)


@pytest.mark.parametrize("learner", ["threshold", "topk-global"])
@pytest.mark.parametrize("amp", ["off", "bfloat16", "float16"])
def test_a_run_is_the_same_to_the_bit(
    amp: str, learner: str, digits: Splits, tiny: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    train = TrainConfig(epochs=2, amp=amp, grad_clip=1.0, density_ramp=0.5 if learner == "topk-global" else 0.0)
    run = dataclasses.replace(tiny, mask=MaskConfig(strategy="rp", learner=learner), train=train)
    states = []
    for wanted in (True, False):
        made: list[bool] = []

        def block(model: nn.Module, *, wanted: bool, use: bool = wanted, made: list[bool] = made) -> MaskGradients:
            made.append(wanted)
            return MaskGradients(model, wanted=use)

        monkeypatch.setattr(loop, "MaskGradients", block)
        model = build_model(run, digits.spec.to_input())
        fit(model, digits, train)
        assert made == [True, True]
        states.append(model.state_dict())
    for name, value in states[0].items():
        assert torch.equal(value, states[1][name]), name


@pytest.mark.parametrize("learner", ["threshold", "topk"])
def test_no_weight_outlives_its_backward_pass(
    learner: str, digits: Splits, tiny: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = dataclasses.replace(tiny, mask=MaskConfig(learner=learner), train=TrainConfig(epochs=1))
    model = build_model(run, digits.spec.to_input())
    layer = next(module for module in model.modules() if parametrize.is_parametrized(module))
    made: list[weakref.ref[torch.Tensor]] = []
    layer.register_forward_hook(lambda layer, *_: made.append(weakref.ref(layer.weight)) if layer.training else None)  # type: ignore[arg-type]
    alive: list[int] = []

    def step(*_: object) -> None:
        alive.append(sum(weight() is not None for weight in made))

    step_of = Precision.step
    monkeypatch.setattr(Precision, "step", lambda *arguments: (step(), step_of(*arguments)))
    fit(model, digits, run.train)
    assert alive
    assert set(alive) == {0}
