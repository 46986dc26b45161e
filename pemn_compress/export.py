"""From a training run to a `.pemn` file that is known to load back equal."""

from __future__ import annotations

import copy
import math
import os
from collections import Counter
from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from pemn_compress.data import DataSpec, ImageSet, load_test
from pemn_compress.equality import check_equal
from pemn_compress.loading import rebuild_model
from pemn_compress.logits import (
    DEFAULT_TOLERANCE,
    LogitChange,
    check_change,
    held_out_inputs,
    logit_change,
    synthetic_inputs,
)
from pemn_compress.masking import merge_
from pemn_compress.plan.candidates import LEAST_USED
from pemn_compress.plan.unfilled import why_unfilled
from pemn_compress.saving import to_content
from pemn_compress.train.evaluate import Evaluation, evaluate
from pemn_compress.train.run import RunFolder
from pemn_compress.within import content_within
from pemn_formats.atomic import atomic_write, check_writable
from pemn_formats.codecs import too_large_to_predict
from pemn_formats.content import LOG8
from pemn_formats.errors import PemnError
from pemn_formats.ledger import Ledger
from pemn_formats.reader import Reader
from pemn_formats.writer import encode

__all__ = ["ExportReport", "export_run", "foresee_export"]


@dataclass(frozen=True)
class ExportReport:
    """What was written and how it was checked.

    `logits` is how far the rebuilt file's logits lie from the trained model's. `before` and `after` are the two on the
    test images; None, with the reason in `not_evaluated`, where they were not measured. `budget` is the most bytes that
    the file was allowed, None where there was no limit; `residual_dtypes` how many residual entries have each dtype.
    """

    path: Path
    run: Path
    ledger: Ledger
    content_id: str
    masked_tensors: int
    residual_entries: int
    logits: LogitChange
    before: Evaluation | None
    after: Evaluation | None
    not_evaluated: str | None
    budget: int | None = None
    residual_dtypes: Mapping[str, int] = field(default_factory=dict)
    unfilled: str = ""
    """Why the file uses less than 97 % of the run's own budget, if it does."""
    could_be_smaller: bool = False
    """Whether the masks are so large that `balanced` left the context coder out."""

    @property
    def room(self) -> float:
        """How much wider a net would fill a budget of which the file leaves more than 3 %; 0 where it leaves less.

        The bytes of masks grow as the square of the width, and so do those of stored values, but for vectors of a
        fixed length.
        """
        if self.budget is None or self.ledger.file_bytes >= LEAST_USED * self.budget:
            return 0.0
        growing = self.ledger.masks + self.ledger.prototypes
        return math.sqrt(1 + (self.budget - self.ledger.file_bytes) / growing) - 1

    def to_dict(self) -> dict[str, Any]:
        """The fields as JSON values."""
        return {
            **{name: getattr(self, name) for name in ("content_id", "masked_tensors", "residual_entries")},
            "file": str(self.path),
            "run": str(self.run),
            "ledger": self.ledger.to_dict(),
            "logits": self.logits.to_dict(),
            "before": self.before and self.before.to_dict(),
            "after": self.after and self.after.to_dict(),
            "not_evaluated": self.not_evaluated,
            "budget": self.budget,
            "residual_dtypes": dict(self.residual_dtypes),
            "unfilled": self.unfilled,
            "could_be_smaller": self.could_be_smaller,
        }


def foresee_export(run: RunFolder) -> tuple[int, str]:
    """The bytes that `export_run` writes with its defaults, and why that is less than 97 % of a budget, if it is.

    Raises:
        PemnError: as `export_run`.
    """
    options = run.options
    data = _encoded(
        run.build_model().eval(), options.budget, options.residual_dtype, "balanced", lossless=False, input=run.input
    )
    return len(data), why_unfilled(options, run.input, len(data))


def export_run(
    run: RunFolder,
    path: str | os.PathLike[str],
    *,
    residual_dtype: str | None = None,
    lossless: bool = False,
    store: str | None = None,
    effort: str = "balanced",
    budget: int | None = None,
    data_root: str | os.PathLike[str] | None = None,
    evaluate_on_test: bool = True,
    tolerance: float = DEFAULT_TOLERANCE,
    device: torch.device | str = "cpu",
    force: bool = False,
) -> ExportReport:
    """Write the best epoch of a masked run to `path`, once its bytes were decoded and found equal to the model.

    What rounding does to the logits is measured on 256 of the run's test images, or on synthetic ones where those are
    not at hand or not asked for; a change above `tolerance` is refused. Accuracy before and after is measured on all
    test images: they chose nothing in training, and this is the check that what is deployed is what was trained.
    Nothing is downloaded for it.

    Args:
        run: a run with at least one finished epoch.
        path: where the file goes; it appears whole, checked, or not at all.
        residual_dtype: what everything that is not masked is rounded to, `float16`, `float32` or `log8`; None is what
            the run says, and where that says nothing float16, or within a budget as precise as fits.
        lossless: keep the residual as it is, BatchNorm unfolded.
        store: `seed` or `vector`; None is what the run was trained with.
        effort: `balanced`, `smallest` or `fast`, as in `save_model`.
        budget: the most bytes of the file; None is the run's own.
        data_root: where the data is; None is where the run found it.
        evaluate_on_test: measure accuracy if the images are there.
        tolerance: the largest change of a logit that is accepted, in standard deviations of the logits.
        device: where to measure.
        force: replace `path` if it exists.

    Raises:
        PemnError: the run is dense or unfinished, two options contradict each other, the file cannot be put there, it
            is larger than the budget, it does not load back equal, or the logits change too much. Nothing is written
            then.
    """
    target = check_writable(path, force=force)
    if run.options.mask is None:
        raise PemnError(
            f"{run.path} is a dense run (--regular), there are no masks to export; train without --regular,"
            f" or use its weights from {run.path / 'best.pt'}"
        )
    if lossless and residual_dtype is not None:
        raise PemnError(f"residual dtype {residual_dtype} rounds, and lossless rounds nothing; leave one of them out")
    model = run.build_model().eval()
    budget = run.options.budget if budget is None else budget
    dtype = residual_dtype or (None if lossless else run.options.residual_dtype)
    as_trained = (budget, dtype) == (run.options.budget, run.options.residual_dtype) and not (lossless or store)
    data = _encoded(model, budget, dtype, effort, input=run.input, lossless=lossless, store=store)
    with Reader.open(data) as reader:
        decoded, identity, ledger = reader.content(), reader.content_id(), reader.ledger()
        mask_bits = 8 * reader.manifest.mask_bytes
    check_equal(model, decoded)
    plain = rebuild_model(decoded, into=None if decoded.architecture else merge_(copy.deepcopy(model)))
    model, plain = model.to(device), plain.to(device)
    images, reason = _test_images(run, data_root) if evaluate_on_test else (None, "not asked for")
    if images is None:
        inputs, source = synthetic_inputs(DataSpec.from_input(run.input)), "synthetic images"
    else:
        inputs, source = held_out_inputs(*images), "test images"
    change = logit_change(model, plain, inputs, source, device)
    if budget is not None and change.relative > tolerance and any(entry.dtype == LOG8 for entry in decoded.residual):
        check_change(change, tolerance, _remedy_within(model, budget, effort, input=run.input, store=store))
    check_change(change, tolerance, _finer({entry.dtype for entry in decoded.residual}))
    before = after = None
    if images is not None:
        before, after = (evaluate(each, *images, device=device) for each in (model, plain))
    with atomic_write(target, force=force) as file:
        file.write(data)
    return ExportReport(
        path=target,
        run=run.path,
        ledger=ledger,
        content_id=identity,
        masked_tensors=len(decoded.masked),
        residual_entries=len(decoded.residual),
        logits=change,
        before=before,
        after=after,
        not_evaluated=reason,
        budget=budget,
        residual_dtypes=dict(sorted(Counter(entry.dtype for entry in decoded.residual).items())),
        unfilled=why_unfilled(run.options, run.input, len(data)) if as_trained else "",
        could_be_smaller=effort == "balanced" and too_large_to_predict(mask_bits),
    )


def _finer(dtypes: Set[str]) -> str:
    """What rounds less than the coarsest of the dtypes that the residual is in."""
    finer = ["float16", "float32"] if LOG8 in dtypes else ["float32"] if "float16" in dtypes else []
    return f"store it with residual dtype {' or '.join(finer)} or lossless" if finer else "store it lossless"


def _remedy_within(model: nn.Module, budget: int, effort: str, **options: Any) -> str:
    """What to do within a budget about a residual that is too coarse."""
    needed = len(encode(to_content(model.cpu(), residual_dtype="float16", **options), effort=effort))
    if needed <= budget:
        return "store it with residual dtype float16"
    return f"float16 takes {needed:,} B, so raise the budget of {budget:,} B to that or train for longer"


def _encoded(
    model: nn.Module, budget: int | None, dtype: str | None, effort: str, *, lossless: bool, **options: Any
) -> bytes:
    threads = torch.get_num_threads()
    if budget is not None and not lossless:
        return content_within(model, budget, residual_dtype=dtype, threads=threads, effort=effort, **options)[1]
    content = to_content(model, residual_dtype=dtype or "float16", lossless=lossless, **options)
    data = encode(content, threads=threads, effort=effort)
    if budget is not None and len(data) > budget:
        raise PemnError(
            f"the file takes {len(data):,} B without loss, more than the budget of {budget:,} B; "
            "leave lossless out, or raise the budget"
        )
    return data


def _test_images(
    run: RunFolder, data_root: str | os.PathLike[str] | None
) -> tuple[tuple[ImageSet, DataSpec] | None, str | None]:
    """The run's test images in the shape its network takes, or the reason why they are not there."""
    options, spec = run.options, DataSpec.from_input(run.input)
    root = options.data_root if data_root is None else str(data_root)
    reading: dict[str, bool] = {"skip_corrupt": options.skip_corrupt, "from_disk": options.from_disk}
    try:
        return load_test(options.data, spec, root=root, download=False, **reading), None
    except PemnError as error:
        return None, str(error)
