"""Several models over one set of values in one file, and the way from one to another in place."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TypeVar

import torch
from torch import nn

from pemn_compress.filling import fill_state_, state_shapes
from pemn_compress.maskable import plain_name
from pemn_compress.misfit import check_fit
from pemn_compress.saving import to_content
from pemn_formats.bundle import join, select_task
from pemn_formats.content import Content
from pemn_formats.ledger import Ledger
from pemn_formats.limits import DEFAULT_MEMORY_BUDGET
from pemn_formats.reader import read, read_model
from pemn_formats.source import Readable
from pemn_formats.writer import write

__all__ = ["load_task_", "save_bundle"]

Model = TypeVar("Model", bound=nn.Module)


def save_bundle(
    models: Mapping[str, nn.Module | Readable],
    path: str | os.PathLike[str],
    *,
    effort: str = "balanced",
    force: bool = False,
) -> Ledger:
    """Write models that share seed and prototypes to one `.pemn` file, by task name, and return where its bytes went.

    A model is a `.pemn` file, or a masked module, which is saved as `save_model` does by default. `load_model` and
    `load_file` take one out again with `task=`. `effort` is as in `save_model`. Raises `PemnError` where two models
    cannot share one set of values, naming the difference, and as `save_model`.

    >>> import torch, tempfile, pemn_compress as pemn
    >>> day, night = (pemn.mask_(torch.nn.Linear(64, 8), pemn.MaskConfig(seed=1)) for _ in range(2))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = pemn.save_bundle({"day": day, "night": night}, f"{folder}/both.pemn")
    ...     model = pemn.load_model(f"{folder}/both.pemn", task="day", into=torch.nn.Linear(64, 8))
    ...     _ = pemn.load_task_(model, f"{folder}/both.pemn", "night")
    >>> bool((model.weight == night.weight).all())
    True
    """
    contents = {task: to_content(each) if isinstance(each, nn.Module) else read(each) for task, each in models.items()}
    return write(path, join(contents), force=force, threads=torch.get_num_threads(), effort=effort)


@torch.no_grad()
def load_task_(
    model: Model, bundle: Readable | Content, task: str, *, memory_budget: int = DEFAULT_MEMORY_BUDGET
) -> Model:
    """Give a plain model the weights of another task of a bundle, in place, and return it.

    Every parameter and buffer keeps its storage, device and dtype, so that optimizers, graphs and compiled code stay
    valid; one tensor is rebuilt at a time. Training or evaluation mode stays as it is. Names and shapes are compared
    before anything is changed. A bundle that is read once, by `pemn_formats.reader.read`, may be passed as content.

    Raises `FormatError` for a damaged file; `PemnError` where names, shapes or a BatchNorm's eps differ, for a task
    that the file does not have (the message lists them) and for a masked model.
    """
    if isinstance(bundle, Content):
        content = select_task(bundle, task)
    else:
        content = read_model(bundle, task=task, memory_budget=memory_budget)
    check_fit(model, content, state_shapes(content))
    fill_state_({plain_name(name): value for name, value in model.state_dict().items()}, content)
    return model
