"""Start a run from dense weights."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from pemn_compress.masked_weight import MaskedWeight
from pemn_compress.masking import masked_weights
from pemn_compress.residual import plain_state
from pemn_formats.errors import PemnError
from pemn_formats.names import shown

__all__ = ["start_from_"]


@torch.no_grad()
def start_from_(model: nn.Module, dense: Mapping[str, Tensor]) -> nn.Module:
    """Give a model the weights of a dense one of the same architecture, in place, and return it.

    What is not masked is copied. The scores of a `sign` mask become the dense weights times the signs of their values,
    so that masked and dense weights agree in sign, at the root mean square of the scores that they replace; a learned
    scale becomes the one of least squared error, which for values of +1 and -1 is the mean magnitude (Rastegari et al.
    2016).

    Raises:
        PemnError: names or shapes differ, or a mask is none of `sign` with learner `threshold`: dense weights were
            measured to be no help to a `keep` mask.
    """
    masked = {name: weight for name, weight, _ in masked_weights(model)}
    for weight in masked.values():
        if (weight.alphabet, weight.learner.name) != ("sign", "threshold"):
            raise PemnError(
                f"dense weights start a mask of alphabet sign and learner threshold, found {weight.alphabet} and "
                f"{weight.learner.name}, to which they are no help; give alphabet sign, or no dense start"
            )
    wanted = dict(plain_state(model))
    _check_fit(wanted, dense)
    for name, tensor in wanted.items():
        value = dense[name].to(tensor.device)
        if name in masked:
            _sign(masked[name], tensor, value.to(tensor.dtype))
        else:
            tensor.copy_(value)
    return model


def _sign(weight: MaskedWeight, score: Tensor, dense: Tensor) -> None:
    size = float(dense.double().square().mean().sqrt())
    if size == 0:
        return
    value = weight.unmasked()
    score.copy_(dense * value.sign() * (weight.learner.bound / math.sqrt(3) / size))
    if weight.scale is not None:
        rows, value = dense.abs().flatten(1), value.abs().flatten(1)
        best = weight.scale * (rows * value).sum(1) / value.square().sum(1)
        weight.scale.copy_(torch.where(best > 0, best, weight.scale))


def _check_fit(wanted: Mapping[str, Tensor], dense: Mapping[str, Tensor]) -> None:
    for name in (*wanted, *dense):
        if name not in dense or name not in wanted:
            here, there = ("model", "dense weights") if name in wanted else ("dense weights", "model")
            raise PemnError(f"{shown(name)} is in the {here}, not in the {there}; give weights of the same model")
        if wanted[name].shape != dense[name].shape:
            raise PemnError(
                f"{shown(name)} has shape {list(dense[name].shape)} in the dense weights, "
                f"{list(wanted[name].shape)} in the model; give weights of the same model"
            )
        if not bool(dense[name].isfinite().all()):
            raise PemnError(f"{shown(name)} of the dense weights has values that are no numbers")
