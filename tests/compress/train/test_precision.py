"""Mixed precision, the loss scaler and the clipped gradient, as a run uses them; all of it on the CPU."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from recorder import Recorder, assert_same
from torch import Tensor, nn
from torch.optim.optimizer import register_optimizer_step_pre_hook

from pemn_compress.data import Splits
from pemn_compress.train.building import build_model
from pemn_compress.train.job import start
from pemn_compress.train.loop import fit
from pemn_compress.train.precision import Precision
from pemn_compress.train.run_config import RunConfig

CPU = torch.device("cpu")
FIRST_SCALE = 65536.0  # of torch's scaler


@contextmanager
def norms_at_steps() -> Iterator[list[float]]:
    """The norm of the gradient over all parameters, as every optimizer takes it when it steps."""
    found: list[float] = []

    def look(optimizer: torch.optim.Optimizer, *_: object) -> None:
        parameters = [each for group in optimizer.param_groups for each in group["params"]]
        norms = torch.stack([each.grad.norm() for each in parameters if each.grad is not None])
        scale = getattr(optimizer, "grad_scale", None)  # what a fused optimizer divides by
        found.append(float(norms.norm() / (1 if scale is None else scale)))

    handle = register_optimizer_step_pre_hook(look)
    try:
        yield found
    finally:
        handle.remove()


def leaf(*values: float) -> tuple[nn.Parameter, torch.optim.Optimizer]:
    """A parameter, and an optimizer that moves it by its gradient."""
    weight = nn.Parameter(torch.tensor(values))
    return weight, torch.optim.SGD([weight], lr=1.0)


@pytest.mark.parametrize(
    ("amp", "dtype"),
    [("auto", torch.float32), ("off", torch.float32), ("bfloat16", torch.bfloat16), ("float16", torch.float16)],
)
def test_a_run_learns_in_the_type_asked_for(tiny: RunConfig, tmp_path: Path, amp: str, dtype: torch.dtype) -> None:
    job = start(dataclasses.replace(tiny, train=dataclasses.replace(tiny.train, amp=amp)), runs=tmp_path)
    seen: dict[bool, set[torch.dtype]] = {True: set(), False: set()}
    job.model.register_forward_hook(lambda net, _, output: seen[net.training].add(output.dtype))
    result = job.train()
    assert seen == {True: {dtype}, False: {torch.float32}}
    assert result.test.accuracy > 50
    assert {value.dtype for value in job.model.parameters()} == {torch.float32}


@pytest.mark.parametrize("amp", ["off", "float16"])
def test_no_step_has_a_larger_gradient_than_asked_for(tiny: RunConfig, digits: Splits, amp: str) -> None:
    norms = {}
    for grad_clip in (None, 0.05):
        train = dataclasses.replace(tiny.train, amp=amp, grad_clip=grad_clip)
        with norms_at_steps() as norms[grad_clip]:
            fit(build_model(tiny, digits.spec.to_input()), digits, train)
        assert norms[grad_clip]
    assert 0.05 < min(norms[None]) < max(norms[None]) < 5
    assert max(norms[0.05]) == pytest.approx(0.05, rel=1e-4)


@pytest.mark.parametrize("amp", ["off", "bfloat16", "float16"])
@pytest.mark.parametrize(("grad_clip", "expected"), [(None, [3.0, 4.0]), (1.0, [0.6, 0.8]), (9.0, [3.0, 4.0])])
def test_a_step_takes_the_unscaled_gradient(amp: str, grad_clip: float | None, expected: list[float]) -> None:
    weight, optimizer = leaf(0.0, 0.0)
    precision = Precision(amp, CPU)
    precision.backward((weight * torch.tensor([3.0, 4.0])).sum())
    precision.step(optimizer, grad_clip)
    torch.testing.assert_close(-weight.detach(), torch.tensor(expected))


@pytest.mark.parametrize("grad_clip", [None, 1.0])
def test_a_gradient_that_overflows_skips_the_step_and_halves_the_scale(grad_clip: float | None) -> None:
    weight, optimizer = leaf(1.0, 2.0)
    precision = Precision("float16", CPU)

    def step(factor: float) -> Tensor:
        optimizer.zero_grad()
        precision.backward((weight * factor).sum())
        precision.step(optimizer, grad_clip)
        return weight.detach().clone()

    assert precision.state_dict()["scale"] == FIRST_SCALE
    assert step(torch.inf).tolist() == [1.0, 2.0]
    assert precision.state_dict()["scale"] == FIRST_SCALE / 2
    assert step(0.5).tolist() == [0.5, 1.5]
    assert precision.state_dict()["scale"] == FIRST_SCALE / 2


def test_the_scale_comes_back_from_a_checkpoint() -> None:
    weight, optimizer = leaf(1.0)
    before, after = Precision("float16", CPU), Precision("float16", CPU)
    before.backward((weight * torch.inf).sum())
    before.step(optimizer, None)
    after.load_state_dict(before.state_dict())
    assert after.state_dict() == before.state_dict()
    assert after.state_dict()["scale"] == FIRST_SCALE / 2
    for amp in ("off", "bfloat16"):
        plain = Precision(amp, CPU)
        plain.load_state_dict(before.state_dict())
        assert plain.state_dict() == {}
    after.load_state_dict(plain.state_dict())  # of a run that was begun in another type
    assert after.state_dict() == before.state_dict()


def test_a_resumed_run_goes_on_with_its_scale(digits: Splits, tmp_path: Path, tiny: RunConfig) -> None:
    class Steep(nn.Module):
        """A net whose first gradients overflow in float16."""

        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.fc = nn.Linear(64, 10)

        def forward(self, images: Tensor) -> Tensor:
            output: Tensor = self.fc(images.flatten(1))
            return 64 * output

    train, runs = dataclasses.replace(tiny.train, amp="float16"), []
    for name, stop_in in (("whole", 0), ("cut", 2)):
        run = start(tiny, runs=tmp_path, name=name).run
        if stop_in:
            with pytest.raises(KeyboardInterrupt):
                fit(Steep(), digits, train, run=run, progress=Recorder(stop_in))
        fit(Steep(), digits, train, run=run, resume=bool(stop_in))
        runs.append(run)
    assert_same(*runs)
    scales = [run.newest_checkpoint(print)["precision"]["scale"] for run in runs]
    assert scales[0] == scales[1] < FIRST_SCALE
