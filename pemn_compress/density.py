"""The density that a model trains at while it is on the way to its own."""

from __future__ import annotations

from torch import nn

from pemn_compress.learners.global_topk import GlobalTopK
from pemn_compress.masking import masked_weights
from pemn_formats.errors import PemnError

__all__ = ["ramp_density", "training_density"]

_START = 0.5


def training_density(final: float, done: float, ramp: float) -> float:
    """Return the density when the part `done` of a run is over: from one half to `final`, reached at the part `ramp`.

    The cubic of Zhu and Gupta (2017): fast at first, slow where few are left. A final density of at least one half has
    no way to go.
    """
    if final >= _START or done >= ramp:
        return final
    return final + (_START - final) * (1.0 - done / ramp) ** 3


def ramp_density(model: nn.Module, done: float, ramp: float) -> None:
    """Let a model of learner `topk-global` train at `training_density` from now on.

    In evaluation mode, and in what is saved, counted or merged, it always has its final density. Raises `PemnError`
    for a model of another learner.
    """
    learners = [weight.learner for _, weight, _ in masked_weights(model) if isinstance(weight.learner, GlobalTopK)]
    if not learners:
        raise PemnError("density_ramp needs a model masked with learner 'topk-global', found none")
    for learner in learners:
        learner.group.density = training_density(learner.density, done, ramp)
