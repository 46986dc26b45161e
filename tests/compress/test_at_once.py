"""Many tensors in one call of the compiled loops: the bits that torch gives one by one, or torch itself."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator

import pytest
import torch
from torch import nn
from torch.fx.experimental.proxy_tensor import make_fx

from pemn_compress import at_once
from pemn_compress.at_once import score_gradient, score_gradients, weights
from pemn_compress.config import MaskConfig
from pemn_compress.learners import LEARNERS, Learner
from pemn_compress.masking import mask_, masked_weights
from pemn_formats import native

SPECIAL = [0.0, -0.0, 1e-45, -1e-45, 1.17e-38, math.inf, -math.inf, math.nan, -math.nan]
SHAPES = [(5, 3), (1,), (16,), (300, 7), (4, 3, 5, 5), (200, 170)]

every_learner = pytest.mark.parametrize("name", list(LEARNERS))
every_alphabet = pytest.mark.parametrize("alphabet", ["keep", "sign", "ternary"])


class Recorder:
    """The compiled loops, and how many tensors each served."""

    def __init__(self, loops: native.Loops) -> None:
        self._loops = loops
        self.chosen = self.carried = 0

    def choose(self, rows: tuple[float, ...]) -> None:
        self.chosen += len(rows) // 6
        self._loops.choose(rows)

    def carry(self, rows: tuple[int, ...]) -> None:
        self.carried += len(rows) // 5
        self._loops.carry(rows)

    def __getattr__(self, name: str) -> object:
        return getattr(self._loops, name)


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    if native.compiled() is None:
        pytest.skip("the compiled loops were not built here")
    found = Recorder(native.compiled())
    monkeypatch.setattr(native, "_LOOPS", found)
    return found


def numbers(shape: tuple[int, ...], kind: str, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    found = torch.rand(shape, generator=generator) - 0.5
    if kind == "equal":
        found = (found * 8).round() / 8
    elif kind == "special":
        places = torch.randint(0, 3 * len(SPECIAL), shape, generator=generator)
        for place, number in enumerate(SPECIAL):
            found[places == place] = number
    return found


def bits(tensor: torch.Tensor) -> list[int]:
    """The bits; of what is no number only that it is none: a product may choose among several."""
    return torch.where(tensor.isnan(), math.nan, tensor).contiguous().view(torch.int32).reshape(-1).tolist()


def learners(name: str, alphabet: str, density: float) -> Iterator[Learner]:
    for index, _ in enumerate(SHAPES):
        yield LEARNERS[name](
            alphabet, 0.5 if name == "threshold" and alphabet != "ternary" else density, 0.1 + index / 9
        )


@every_learner
@every_alphabet
@pytest.mark.parametrize("kind", ["random", "equal", "special"])
@pytest.mark.parametrize("density", [0.1, 0.5, 0.999])
def test_the_bits_of_torch(name: str, alphabet: str, kind: str, density: float, recorder: Recorder) -> None:
    chosen = list(learners(name, alphabet, density))
    scores = [numbers(shape, kind, seed) for seed, shape in enumerate(SHAPES)]
    values, grads = ([numbers(shape, "random", seed) for shape in SHAPES] for seed in (50, 60))
    grads[3] = numbers(SHAPES[3], "special", 70)
    made, compared = weights(chosen, scores, values)
    with torch.no_grad():  # as backward runs
        gradients = score_gradients(chosen, scores, values, grads, compared)
    if kind == "random" and density == 0.5:
        assert recorder.chosen > 0
        assert (recorder.carried > 0) == (name != "threshold" and alphabet != "ternary")
    native._LOOPS = None
    for one, score, value, grad, weight, gradient in zip(chosen, scores, values, grads, made, gradients, strict=True):
        unclear = score.isnan() & (alphabet != "sign")  # torch gives what is no number two weights, by its place
        assert bits(weight) == bits(torch.where(unclear, weight, one.select(score, value)))
        assert gradient is not None
        assert bits(gradient) == bits(score_gradient(one, score, value, grad))


def net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5), nn.Flatten(), nn.Linear(80, 9), nn.Linear(9, 4))


def trained(model: nn.Module, *, format: torch.memory_format = torch.contiguous_format) -> list[torch.Tensor]:
    model, images = model.to(memory_format=format), torch.linspace(-1, 1, 2 * 3 * 6 * 6).reshape(2, 3, 6, 6)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.05)
    for _ in range(4):
        optimizer.zero_grad()
        model(images.contiguous(memory_format=format)).square().sum().backward()
        optimizer.step()
    return [parameter.detach() for parameter in model.parameters()]


@every_learner
@every_alphabet
@pytest.mark.parametrize("format", [torch.contiguous_format, torch.channels_last])
def test_a_run_with_and_without_them(
    name: str, alphabet: str, format: torch.memory_format, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = mask_(net(), MaskConfig(learner=name, alphabet=alphabet))
    twin = copy.deepcopy(model)
    found = trained(model, format=format)
    assert recorder.chosen == 12
    assert recorder.carried == (0 if name == "threshold" or alphabet == "ternary" else 12)
    monkeypatch.setattr(native, "_LOOPS", None)
    assert all(torch.equal(*pair) for pair in zip(found, trained(twin, format=format), strict=True))


def test_large_tensors_are_left_to_torch_and_its_threads(recorder: Recorder) -> None:
    one = LEARNERS["threshold"]("sign", 0.5, 0.1)
    scores = [torch.ones(at_once._MOST), torch.ones(at_once._MOST + 1)]
    weights([one, one], scores, scores)
    assert recorder.chosen == 1


def loss_and_scores(learner: str = "topk") -> tuple[torch.Tensor, list[nn.Parameter]]:
    model = mask_(nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 2)), MaskConfig(learner=learner))
    out = model(torch.linspace(-1, 1, 18).reshape(3, 6))
    return out, [score for _, _, score in masked_weights(model)]


@pytest.mark.usefixtures("recorder")
@pytest.mark.parametrize("learner", ["topk", "threshold"])
def test_gradients_of_gradients(learner: str) -> None:
    out, scores = loss_and_scores(learner)
    found = torch.autograd.grad(out.square().sum(), scores, create_graph=True)
    again = torch.autograd.grad(sum(gradient.square().sum() for gradient in found), scores)
    assert all(gradient.isfinite().all() and gradient.count_nonzero() for gradient in again)


@pytest.mark.usefixtures("recorder")
@pytest.mark.parametrize("learner", ["topk", "threshold"])
def test_many_gradients_at_once(learner: str) -> None:
    out, scores = loss_and_scores(learner)
    along = torch.eye(out.numel()).reshape(-1, *out.shape)
    together = torch.autograd.grad(out, scores, along, is_grads_batched=True, retain_graph=True)
    for place, each in enumerate(along):
        for found, expected in zip(together, torch.autograd.grad(out, scores, each, retain_graph=True), strict=True):
            torch.testing.assert_close(found[place], expected)


def test_what_traces_operations_sees_all_of_them(recorder: Recorder) -> None:
    model = mask_(nn.Linear(6, 5), MaskConfig(alphabet="sign"))
    traced = make_fx(lambda x: model(x))(torch.ones(2, 6))
    assert not recorder.chosen
    with torch.no_grad():
        model.parametrizations.weight.original.neg_()
    model(torch.ones(2, 6))
    assert recorder.chosen == 1
    assert any("xor" in str(node.target) for node in traced.graph.nodes)


@pytest.mark.parametrize("strange", ["score", "value", "grad", "none"])
@torch.no_grad()
def test_tensors_of_one_order_of_memory_are_taken_and_mixed_ones_left_to_torch(
    strange: str, recorder: Recorder
) -> None:
    one, shape = LEARNERS["topk"]("sign", 0.5, 0.1), (4, 3, 5, 5)
    parts = {name: numbers(shape, "random", seed) for seed, name in enumerate(("score", "value", "grad"))}
    for name, part in parts.items():
        if name != strange:
            parts[name] = part.contiguous(memory_format=torch.channels_last)
    score, value, grad = parts.values()
    made, compared = weights([one], [score], [value])
    found = score_gradients([one], [score], [value], [grad], compared)[0]
    assert (recorder.chosen, recorder.carried) == (strange in ("grad", "none"), strange == "none")
    native._LOOPS = None
    assert found is not None
    assert bits(made[0]) == bits(one.select(score, value))
    assert bits(found) == bits(score_gradient(one, score, value, grad))


@pytest.mark.parametrize("kind", ["strided", "expanded", "shorter", "float64", "subclass", "empty", "negated"])
@torch.no_grad()
def test_other_tensors_are_left_to_torch(kind: str, recorder: Recorder) -> None:
    class Own(torch.Tensor):
        pass

    plain = numbers((3, 4), "random", 0)
    other = {
        "strided": plain.T.contiguous().T,
        "expanded": torch.ones(1, 4).expand(3, 4),
        "shorter": torch.ones(4),
        "float64": plain.double(),
        "subclass": plain.as_subclass(Own),
        "empty": torch.ones(0, 4),
        "negated": torch._neg_view(plain),
    }[kind]
    one = LEARNERS["topk"]("keep", 0.5, 0.1)
    _, compared = weights([one], [plain], [plain])
    score = plain[:0] if kind == "empty" else plain
    found = score_gradients([one], [score], [score], [other], compared)[0]
    assert found is not None
    assert torch.equal(found, score_gradient(one, score, score, other))
    assert not recorder.carried
    score_gradients([one], [plain], [plain], [plain], compared)
    assert recorder.carried == 1
