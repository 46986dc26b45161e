"""A training run from its options to its result."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from torch import nn

from pemn_compress.data import Splits, load_data
from pemn_compress.plan.bytes_of_a_net import SMALLEST_DTYPE, bytes_of_a_net
from pemn_compress.train.budget_control import BudgetControl
from pemn_compress.train.building import build_model
from pemn_compress.train.check_model import check_model
from pemn_compress.train.device import resolve_device
from pemn_compress.train.distributed import from_first, on_all, ranks
from pemn_compress.train.environment import changed_versions, git_state, versions
from pemn_compress.train.evaluate import watched_splits
from pemn_compress.train.loop import fit
from pemn_compress.train.progress import Progress, Watch, unheard, unwatched
from pemn_compress.train.rate_control import RateControl, check_rate
from pemn_compress.train.reserve import reserved
from pemn_compress.train.result import FitResult
from pemn_compress.train.run import RUNS, RunFolder
from pemn_compress.train.run_config import RunConfig
from pemn_compress.train.run_lock import claimed
from pemn_compress.train.sources import Sources, with_paths
from pemn_compress.train.subset import stratified_subset
from pemn_compress.train.trial import planned_for
from pemn_formats.errors import PemnError

__all__ = ["Job", "resume", "run_name", "start"]


@dataclasses.dataclass(frozen=True)
class Job:
    """A run that is ready to train: its folder, images and model.

    `changed` names the versions that differ from those a resumed run was started with; equal bits are then not sure.
    `teacher` is the net that the run learns from.
    """

    run: RunFolder
    options: RunConfig
    splits: Splits
    model: nn.Module
    resumed: bool = False
    changed: tuple[str, ...] = ()
    teacher: nn.Module | None = None

    def train(self, progress: Progress | None = None) -> FitResult:
        """Train to the end from the newest checkpoint, if there is one; the model is left with its best weights.

        Raises:
            PemnError: another process is training this run; or as `fit`.
        """
        with ExitStack() as stack:
            from_first(lambda: stack.enter_context(claimed(self.run.path)))
            return fit(
                self.model,
                self.splits,
                self.options.train,
                run=self.run,
                resume=self.resumed,
                progress=progress,
                teacher=self.teacher,
                rate_control=_rate_control(self.options, self.run.input),
            )


def start(
    options: RunConfig,
    *,
    runs: str | os.PathLike[str] = RUNS,
    name: str | None = None,
    force: bool = False,
    note: Callable[[str], None] = unheard,
    watch: Watch = unwatched,
) -> Job:
    """Hold a run folder, load the data and build the model; nothing of it stays behind when that fails.

    In a process group the first process holds and writes; all of them load the data.

    Args:
        options: everything that was asked for; a budget chooses the rest of the model's arguments.
        runs: the folder of runs.
        name: the run's name; None derives one from the options.
        force: replace a run of that name.
        note: takes a line that says what takes long.
        watch: shows the training that a budget is tried with, of so many epochs.

    Raises:
        PemnError: the folder, the data, the model, a net to learn or start from, or the device cannot be had.
    """
    resolve_device(options.train.device)
    options = from_first(lambda: with_paths(options, runs))
    with ExitStack() as held:
        folder = from_first(lambda: held.enter_context(reserved(runs, name, run_name(options), force=force)))
        if str(folder.resolve()) in (options.teacher, options.init_from):
            raise PemnError(f"{folder} cannot be replaced by a run that needs its net; choose another --run")
        splits = on_all(lambda: _load(options, note if ranks().first else unheard))
        _check_images(splits, options.train.select_on)
        described = splits.spec.to_input()
        shown = (note, watch) if ranks().first else ()
        options = planned_for(options, splits, *shown)
        model = build_model(options, described)
        check_model(model, splits.spec, torch.device("cpu"))
        if options.train.rate:
            check_rate(model)
        sources = Sources(options, splits.spec, {})
        sources.begin_(model)
        about = {
            "format": 1,
            "options": options.to_dict(),
            "input": described,
            "versions": versions(),
            "device": str(resolve_device(options.train.device)),
            "code": git_state(Path.cwd()),
            "sources": sources.fingerprints,
        }
        run = from_first(lambda: RunFolder.create(folder, about))
    return Job(run, options, splits, model, teacher=sources.teacher)


def resume(run: RunFolder, options: RunConfig | None = None, *, note: Callable[[str], None] = unheard) -> Job:
    """Make an unfinished run ready to go on; `options` may differ from the run's where the result does not.

    `note` takes a line that says what takes long.

    Raises:
        PemnError: the data, the model or the device cannot be had.
    """
    chosen = options or run.options
    resolve_device(chosen.train.device)
    changed = tuple(changed_versions(run.config.get("versions", {})))
    splits = on_all(lambda: _load(chosen, note if ranks().first else unheard))
    model = build_model(chosen, run.input)
    begun = from_first(run.has_checkpoint)
    needed = with_paths(dataclasses.replace(chosen, init_from=None) if begun else chosen, run.path.parent)
    sources = Sources(needed, splits.spec, run.config.get("sources", {}))
    if not begun:
        sources.begin_(model)
    return Job(run, chosen, splits, model, True, changed, sources.teacher)


def _rate_control(options: RunConfig, described: Mapping[str, Any]) -> RateControl | None:
    """What sets the price of bits: for a run with a budget that its file might exceed, a control that steers."""
    if options.mask is None:
        return None
    rate, dtype, budget = options.train.rate, options.residual_dtype, options.budget
    if budget is None or bytes_of_a_net(options, described).least.file <= budget:
        return RateControl(rate, residual_dtype=dtype or ("float16" if budget is None else SMALLEST_DTYPE))
    return BudgetControl(budget, described, residual_dtype=dtype or SMALLEST_DTYPE, rate=rate)


def _load(options: RunConfig, note: Callable[[str], None]) -> Splits:
    if options.from_disk and options.skip_corrupt:
        note("decoding every image once, to leave out those that cannot be read")
    splits = load_data(
        options.data,
        root=options.data_root,
        validation=options.train.validation,
        seed=options.train.seed,
        size=options.size,
        skip_corrupt=options.skip_corrupt,
        from_disk=options.from_disk,
    )
    if options.limit_train is None:
        return splits
    fewer = stratified_subset(splits.train, options.limit_train, options.train.seed)
    return dataclasses.replace(splits, train=fewer)


def _check_images(splits: Splits, select_on: str) -> None:
    """Raise `PemnError` where nothing can be learned from the images, or the best epoch not be chosen on them."""
    if splits.spec.classes < 2:
        raise PemnError(f"{splits.spec.name} has images of 1 class, and learning takes at least 2 to tell apart")
    watched_splits(splits, select_on)


def run_name(options: RunConfig) -> str:
    """A folder name such as `digits-mlp-rp-0`."""
    data = Path(options.data.partition(":")[2]).name or "folder" if ":" in options.data else options.data
    model = options.model.replace(":", ".").rpartition(".")[2]
    strategy = options.mask.strategy if options.mask else "dense"
    parts = (data, model, strategy, str(options.train.seed))
    return "-".join("".join(c if c.isalnum() or c in "._-" else "_" for c in part).lstrip(".") for part in parts)
