"""From a masked model to a `.pemn` file."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from pemn_compress.config import STORES
from pemn_compress.layers import dense_weights
from pemn_compress.maskable import unwrap
from pemn_compress.masked_weight import MaskedWeight
from pemn_compress.masking import masked_weights
from pemn_compress.models import architecture_of
from pemn_compress.residual import collect_residual, residual_tensor
from pemn_formats.bits import pack
from pemn_formats.content import Content, MaskedTensor, Prototype
from pemn_formats.errors import PemnError
from pemn_formats.ledger import Ledger
from pemn_formats.values import unit_values
from pemn_formats.writer import write

__all__ = ["learned_prototype", "save_model", "to_content"]


def save_model(
    model: nn.Module,
    path: str | os.PathLike[str],
    *,
    input: Mapping[str, Any] | None = None,
    residual_dtype: str = "float16",
    lossless: bool = False,
    store: str | None = None,
    int8_layers: Sequence[str] | None = None,
    extra: Mapping[str, Any] | None = None,
    effort: str = "balanced",
    force: bool = False,
) -> Ledger:
    """Write a masked model to a `.pemn` file and return where its bytes went.

    The file appears whole or not at all; one that exists is replaced only with `force`. `residual_dtype` ("float16",
    "float32" or "log8", a sign and seven bits of logarithm) is what everything that is not masked is rounded to, with
    BatchNorm folded to scale and shift; `lossless` keeps all of it as it is. `store` ("seed" or "vector") overrides the
    model's `MaskConfig`, `int8_layers` (module paths, `first`, `last`) too: layers without masks whose weights are
    stored in 8 bits with a scale per output channel. `input` describes the images for `eval`; `extra` is kept for
    readers that know it. `effort` is `balanced`, the fewest bytes unless masks of more than 2^23 bits would then load
    slowly, `smallest`, the fewest bytes, or `fast`, which takes less time to write and to read. The model is not
    changed.

    Raises `PemnError` for a model without masks, for NaN, for values that the residual dtype cannot hold, and for 8-bit
    layers that are masked or meant to be lossless.

    >>> import torch, tempfile, pemn_compress as pemn
    >>> model = pemn.mask_(torch.nn.Sequential(torch.nn.Linear(64, 32), torch.nn.ReLU(), torch.nn.Linear(32, 10)))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     pemn.save_model(model, f"{folder}/net.pemn").file_bytes < 900
    True
    """
    content = to_content(
        model,
        input=input,
        residual_dtype=residual_dtype,
        lossless=lossless,
        store=store,
        int8_layers=int8_layers,
        extra=extra,
    )
    return write(path, content, force=force, threads=torch.get_num_threads(), effort=effort)


def to_content(
    model: nn.Module,
    *,
    input: Mapping[str, Any] | None = None,
    residual_dtype: str = "float16",
    lossless: bool = False,
    store: str | None = None,
    int8_layers: Sequence[str] | None = None,
    extra: Mapping[str, Any] | None = None,
    masked: tuple[MaskedTensor, ...] | None = None,
) -> Content:
    """Return what `save_model` would write, with the same options and errors.

    `masked` are the model's masks where they are at hand already, in the content of another residual dtype.
    """
    plain = _unwrapped(model)
    found = masked_weights(plain)
    if not found:
        raise PemnError("the model has no masked weights; call mask_ on it before training, then save it")
    config = found[0][1].config
    if any(weight.config.seed != config.seed or weight.plan is not found[0][1].plan for _, weight, _ in found):
        raise PemnError("the model was masked in several calls of mask_; mask it in one call to save it")
    store = config.store if store is None else store
    if store not in STORES:
        raise PemnError(f"unknown store {store!r}; known: {', '.join(STORES)}")
    if config.learn_values and store == "seed":
        raise PemnError("the values were learned, so no seed gives them; save them with store='vector'")
    if masked is None:
        masked = tuple(_masked_tensor(name, weight, score) for name, weight, score in found)
    names = {id(score): name for name, _, score in found}
    if int8_layers is None:
        int8_layers = () if lossless else config.int8_layers
    if int8_layers and lossless:
        raise PemnError(
            f"int8_layers rounds {', '.join(int8_layers)}, and lossless rounds nothing; leave one of them out"
        )
    residual = collect_residual(
        plain, names, residual_dtype=residual_dtype, lossless=lossless, int8=dense_weights(plain, int8_layers)
    )
    scale_dtype = "float32" if lossless else residual_dtype
    scales = tuple(
        residual_tensor(name, weight.scale, scale_dtype, "scale")
        for name, weight, _ in found
        if weight.scale is not None
    )
    architecture = architecture_of(plain)
    return Content(
        seed=config.seed,
        prototypes=_prototypes([weight for _, weight, _ in found], store, scale_dtype),
        masked=masked,
        residual=residual.entries + scales,
        architecture=None if architecture is None else architecture.to_dict(),
        input=None if input is None else dict(input),
        aliases=residual.aliases,
        extra={"strategy": config.strategy, **(extra or {})},
    )


def _masked_tensor(name: str, weight: MaskedWeight, score: nn.Parameter) -> MaskedTensor:
    # The codes are packed one tensor at a time, so that no more than one is ever held as bytes.
    code = weight.code(score).cpu().numpy().reshape(-1)
    ternary = weight.alphabet == "ternary"
    kept = code != 0
    planes = (pack(kept), pack(code[kept] < 0)) if ternary else (pack(kept),)
    return MaskedTensor(
        name=name,
        shape=tuple(score.shape),
        prototype=weight.fill.prototype,
        span=weight.fill.span,
        alphabet=weight.alphabet,
        scale=None if weight.config.scale == "channel" else weight.fill.scale,
        kept=int(np.count_nonzero(kept)) if ternary else None,
        planes=planes,
    )


def _prototypes(weights: Sequence[MaskedWeight], store: str, dtype: str) -> tuple[Prototype, ...]:
    plan, config = weights[0].plan, weights[0].config
    if config.learn_values:
        learned = {weight.fill.prototype: weight.vector for weight in weights if weight.vector is not None}
        return tuple(learned_prototype(index, learned[index], dtype) for index in range(len(plan.prototypes)))
    if store == "seed":
        return tuple(Prototype(each.length, config.distribution) for each in plan.prototypes)
    return tuple(
        Prototype(each.length, "float32", unit_values(config.distribution, config.seed, index, 0, each.length))
        for index, each in enumerate(plan.prototypes)
    )


def learned_prototype(index: int, vector: torch.Tensor, dtype: str) -> Prototype:
    """Return the learned values of a prototype as a file stores them: in float32, or else rounded to float16."""
    source = "float32" if dtype == "float32" else "float16"
    return Prototype(len(vector), source, residual_tensor(f"prototype {index}", vector, source).values)


def _unwrapped(model: nn.Module) -> nn.Module:
    model = unwrap(model)
    while isinstance(model, (DistributedDataParallel, nn.DataParallel, torch.optim.swa_utils.AveragedModel)):
        model = unwrap(model.module)
    return model
