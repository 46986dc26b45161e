"""A net for a budget whose width rests on what the masks of a short run saved."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path

from pemn_compress.data import DataSpec, Splits
from pemn_compress.plan.bytes_of_a_net import SMALLEST_DTYPE, bytes_of_a_net, can_steer
from pemn_compress.plan.choice import chooses_width, planned
from pemn_compress.saving import to_content
from pemn_compress.train.building import build_model
from pemn_compress.train.loop import fit
from pemn_compress.train.progress import Watch, unheard, unwatched
from pemn_compress.train.rate_control import RateControl
from pemn_compress.train.run_config import RunConfig
from pemn_compress.train.sources import Sources
from pemn_compress.train.subset import stratified_subset
from pemn_formats.codecs import too_large_to_predict
from pemn_formats.errors import PemnError
from pemn_formats.foresight import most_mask_bytes
from pemn_formats.reader import Reader
from pemn_formats.writer import encode

__all__ = ["Tried", "planned_for", "tried"]

_PART = 10  # a trial takes one step for so many of the run
_LEAST_STEPS = 50  # but no fewer, or all of the run's
_HELD_OUT = 256
_TERNARY_SAVE = 0.08  # bits a weight more after the run than after its trial: densities go on rising beyond two thirds


def planned_for(
    options: RunConfig, splits: Splits, note: Callable[[str], None] = unheard, watch: Watch = unwatched
) -> RunConfig:
    """Return the run with every argument of its model chosen, as `planned` does, for these images.

    How much smaller learned masks code follows the images and the length of the run. Where the plan chooses the width
    of a net whose masks training can steer, the run is therefore tried with a tenth of its steps, or 50 if those are
    more, and the plan relies on what the masks of that saved: masks that save less can be steered, and those that save
    more leave some of the budget unused. Masks so large that an export stores them to load fast save nothing that a
    plan could rely on.

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
    if too_large_to_predict(8 * bytes_of_a_net(first, described).least.masks):
        return first
    _check_teacher(first, splits.spec)
    part = _part(options, splits)
    note(f"trying {options.model} with {100 * part:.0f} % of the steps, to see how small its masks code")
    found = tried(first, splits, watch)
    note(f"the masks took {found.bits:.2f} bits a weight")
    later = _TERNARY_SAVE if options.mask and options.mask.alphabet == "ternary" and part < 1 else 0.0
    shape = {**options.model_args, "depth": first.model_args["depth"]}
    return planned(dataclasses.replace(options, model_args=shape), described, saved=found.saved + later)


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


def _part(options: RunConfig, splits: Splits) -> float:
    """The part of a run's steps that its trial takes."""
    steps = options.train.epochs * math.ceil(len(splits.train) / options.train.batch_size)
    return min(1.0, max(1 / _PART, _LEAST_STEPS / steps))


@dataclasses.dataclass(frozen=True)
class Tried:
    """What masks took after a trial, and how much less than as they stand, in bits a weight."""

    bits: float
    saved: float


def tried(options: RunConfig, splits: Splits, watch: Watch = unwatched) -> Tried:
    """Train a run's net with a part of its steps and return what its masks took then.

    A trial has no teacher, and keeps nothing.
    """
    passes = options.train.epochs * _part(options, splits)
    epochs, images = math.floor(passes + 1e-9), splits.train
    if epochs == 0:
        epochs, images = 1, stratified_subset(images, max(2, round(len(images) * passes)), options.train.seed)
    held = splits.validation
    if not len(held):
        held = stratified_subset(splits.train, min(_HELD_OUT, len(splits.train)), options.train.seed)
    model = build_model(options, splits.spec.to_input())
    # A run that holds nothing out chooses on the test images, and a trial must not.
    recipe = dataclasses.replace(
        options.train,
        epochs=epochs,
        select_on="validation",
        validation=options.train.validation or 0.1,
        compile=False,
    )
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
    each = 8 / sum(tensor.numel for tensor in content.masked)
    return Tried(each * masks, each * max(0, most_mask_bytes(content) - masks))
