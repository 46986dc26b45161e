"""A net for a budget whose width rests on what the masks of a short run saved."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path

from pemn_compress.data import DataSpec, Splits
from pemn_compress.plan.bytes_of_a_net import SMALLEST_DTYPE, can_steer
from pemn_compress.plan.choice import chooses_width, planned
from pemn_compress.saving import to_content
from pemn_compress.train.building import build_model
from pemn_compress.train.loop import fit
from pemn_compress.train.progress import Watch, unwatched
from pemn_compress.train.rate_control import RateControl
from pemn_compress.train.run_config import RunConfig
from pemn_compress.train.sources import Sources
from pemn_compress.train.subset import stratified_subset
from pemn_formats.errors import PemnError
from pemn_formats.reader import Reader
from pemn_formats.writer import encode

__all__ = ["planned_for", "saved_in_a_trial"]

_PART = 10  # a trial takes one step for so many of the run
_LEAST_STEPS = 500  # of a run that is worth a trial: in fewer than a tenth of these masks have learned little
_TOO_FEW = 50  # steps after which masks were not seen to save anything
_HELD_OUT = 256
_RELIED_ON = 0.9  # of what a trial's masks saved: longer training may save less


def planned_for(
    options: RunConfig, splits: Splits, note: Callable[[str], None] = lambda line: None, watch: Watch = unwatched
) -> RunConfig:
    """Return the run with every argument of its model chosen, as `planned` does, for these images.

    How much smaller learned masks code follows the images and the length of the run. Where the plan chooses the width
    of a net whose masks training can steer, a long run is therefore tried with a tenth of its steps, and the plan
    relies on nine tenths of what the masks of that saved. A run of a few steps relies on nothing, one between goes by
    the net's shapes.

    Args:
        options: the run.
        splits: its images; those for testing are not looked at.
        note: takes a line that says what is tried.
        watch: shows the training of a trial.

    Raises:
        PemnError: as `planned`, or as `fit`; or the run's teacher cannot be had.
    """
    described = splits.spec.to_input()
    first = planned(options, described)
    if not chooses_width(options) or not can_steer(options) or options.init_from is not None:
        return first
    steps = options.train.epochs * math.ceil(len(splits.train) / options.train.batch_size)
    if steps < _TOO_FEW:
        return planned(options, described, saved=0.0)
    if steps < _LEAST_STEPS:
        return first
    note(f"trying {options.model} with a {_PART}th of the steps, to see how small its masks code")
    _check_teacher(first, splits.spec)
    saved = saved_in_a_trial(first, splits, watch)
    note(f"the masks took {100 * saved:.0f} % less than a bit a weight")
    shape = {**options.model_args, "depth": first.model_args["depth"]}
    return planned(dataclasses.replace(options, model_args=shape), described, saved=_RELIED_ON * saved)


def _check_teacher(options: RunConfig, spec: DataSpec) -> None:
    """Refuse a teacher before anything is tried; weights without a description fit one width, which is open still."""
    if options.teacher is None:
        return
    path = Path(options.teacher)
    if path.is_file() and path.suffix != ".pemn":
        raise PemnError(
            f"teacher {path} holds the weights of a net of one width, and the budget has yet to choose this run's; "
            "give a run or a .pemn file, or name the width"
        )
    Sources(options, spec, {})


def saved_in_a_trial(options: RunConfig, splits: Splits, watch: Watch = unwatched) -> float:
    """Train a run's net with a tenth of its steps and return the part of their bits that its masks saved.

    In whole percent, rounded down. A trial has no teacher, and keeps nothing.
    """
    epochs = options.train.epochs // _PART
    images = splits.train
    if epochs == 0:
        epochs = 1
        images = stratified_subset(images, len(images) * options.train.epochs // _PART, options.train.seed)
    held = splits.validation
    if not len(held):
        held = stratified_subset(splits.train, min(_HELD_OUT, len(splits.train)), options.train.seed)
    model = build_model(options, splits.spec.to_input())
    # A run that holds nothing out chooses on the test images, and a trial must not.
    part = options.train.validation or 0.1
    recipe = dataclasses.replace(options.train, epochs=epochs, select_on="validation", validation=part, compile=False)
    with watch(epochs) as progress:
        fit(
            model,
            dataclasses.replace(splits, train=images, validation=held, test=held),
            recipe,
            progress=progress,
            rate_control=RateControl(recipe.rate, residual_dtype=options.residual_dtype or SMALLEST_DTYPE),
        )
    content = to_content(model.cpu(), input=splits.spec.to_input(), residual_dtype=SMALLEST_DTYPE)
    with Reader.open(encode(content)) as reader:
        masks = reader.ledger().masks
    whole = sum(tensor.mask_bytes for tensor in content.masked)
    return max(0, math.floor(100 * (1 - masks / whole))) / 100
