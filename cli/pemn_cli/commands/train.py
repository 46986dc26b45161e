"""`pemn-compress train`: learn masks, or a dense model, and keep everything in a run folder."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from pemn_cli.failures import Interrupted
from pemn_cli.output import percent, print_json, print_table, size, status
from pemn_cli.ranks import StoppedError, command_line, meeting
from pemn_cli.train_options import SectionedCommand, recipe_options
from pemn_cli.typed_options import checked_options, typed_options

if TYPE_CHECKING:
    from pemn_compress.train.job import Job
    from pemn_compress.train.result import FitResult
    from pemn_compress.train.run import RunFolder
    from pemn_compress.train.run_config import RunConfig

__all__ = ["command"]

_FREE = ("device", "workers", "data_root", "teacher", "init_from")


@click.command(name="train", cls=SectionedCommand, short_help="Learn masks (or a dense baseline) from images.")
@recipe_options
@click.option("--run", "name", metavar="NAME", help="Name of the run.  [default: made from the options]")
@click.option("--runs-dir", default="runs", show_default=True, metavar="DIR", help="Folder that holds the runs.")
@click.option("--resume", metavar="RUN", help="Go on with a run that was interrupted; needs no other option.")
@click.option("--force", is_flag=True, help="Replace a run of the same name.")
@click.option("--tensorboard", is_flag=True, help="Write what TensorBoard shows into the run's folder, too.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON object.")
@click.pass_context
def command(
    ctx: click.Context,
    /,
    name: str | None,
    runs_dir: str,
    resume: str | None,
    force: bool,
    tensorboard: bool,
    as_json: bool,
    **_: Any,
) -> None:
    """Train a network as one-bit masks over seeded values, and keep the run in a folder.

    Options that are not given come from the preset. The best epoch is chosen on images held out of the training
    images; the test images are looked at once, at the end.

    \b
    Examples:
      pemn-compress train
      pemn-compress train --data cifar10 --model convmixer --dim 128 --depth 6 --strategy rp --values 251
      pemn-compress train --preset paper --ratio 1e-2 --device cuda
      pemn-compress train --resume runs/digits-mlp-rp-0
    """
    explicit = typed_options(ctx)
    if resume is not None and (name is not None or force):
        raise click.UsageError(f"--resume goes on with a run as it is; leave {'--run' if name else '--force'} out.")
    from pemn_compress.train import job
    from pemn_compress.train.distributed import from_first, ranks
    from pemn_compress.train.presets import resolve
    from pemn_compress.train.run import find_run

    if tensorboard:
        from pemn_cli.tensorboard import check_tensorboard

        check_tensorboard()
    with meeting():
        if resume is None:
            preset = explicit.pop("preset", None)
            with checked_options():
                options = resolve(preset, explicit)
            ready = _start(options, runs=runs_dir, name=name, force=force)
            result = _train(ready, tensorboard)
            run = ready.run
        else:
            run = from_first(lambda: find_run(resume, runs_dir))
            options = _unchanged(run, explicit)
            result = from_first(lambda: _finished(run)) or _train(job.resume(run, options, note=status), tensorboard)
        if ranks().first:
            _report(run, result, as_json)


def _start(options: RunConfig, **where: Any) -> Job:
    """Make a run ready; a budget is tried first, which is shown as training is, and leaves nothing when interrupted."""
    from pemn_cli.train_progress import Display
    from pemn_compress.train.job import start

    try:
        return start(options, note=status, watch=partial(Display, mark="trial"), **where)
    except StoppedError:
        raise Interrupted("torchrun stopped this process, as it does when another one ends; no run was begun") from None
    except KeyboardInterrupt:
        raise Interrupted("no run was begun, and nothing is kept") from None


def _train(ready: Job, tensorboard: bool) -> FitResult:
    """Train and show it in the first process; a run that ends before its end says how to go on."""
    from pemn_cli.tensorboard import TensorBoard
    from pemn_cli.train_progress import Display
    from pemn_compress.data.files import UnreadableImageError
    from pemn_compress.train.distributed import LostProcessError, ranks
    from pemn_compress.train.progress import Everyone
    from pemn_formats.errors import PemnError

    run, first = ready.run, ranks().first
    again = f"resume with: {command_line()} train --resume {run.quoted}"
    display = Display(ready.options.train.epochs, len(run.metrics()) + 1)
    try:
        if not first:
            return ready.train()
        _announce(ready)
        with display, TensorBoard(run.path) as board:
            return ready.train(Everyone(display, board) if tensorboard else display)
    except StoppedError:
        raise Interrupted(f"torchrun stopped this process, as it does when another one ends; {again}") from None
    except KeyboardInterrupt:
        raise Interrupted(f"in epoch {display.epoch_now}; {again}" if first else again) from None
    except LostProcessError as error:
        raise PemnError(f"{error}; {again}") from None
    except UnreadableImageError as error:
        raise PemnError(f"{error}, then {again}") from None


def _announce(ready: Job) -> None:
    for line in ready.splits.skipped:
        status(f"skipped: {line}")
    if ready.options.budget is not None and not ready.resumed:
        net = ", ".join(f"{name} {value}" for name, value in ready.options.model_args.items())
        status(f"for {size(ready.options.budget)}: {ready.options.model}, {net}")
        _advise(ready)
    status(f"{'going on with' if ready.resumed else 'training'} {ready.run.path}, {ready.options.train.epochs} epochs")
    if ready.changed:
        status(
            f"warning: the run was started with {', '.join(ready.changed)}; its masks may differ from those of one go"
        )


def _advise(ready: Job) -> None:
    """Name the net that was measured near the budget, where a plan chose one of another model or depth."""
    from pemn_compress.plan import measured_near

    options = ready.options
    if options.budget is None or "depth" not in options.model_args:
        return
    known = measured_near(options.budget, ready.run.input)
    if known is not None and (options.model, options.model_args["depth"]) != (known.model, known.model_args["depth"]):
        status(f"measured near {size(known.budget)} on CIFAR-10: {known.shape}; for it, add {known.options}")


def _unchanged(run: RunFolder, explicit: Mapping[str, Any]) -> RunConfig:
    """The run's options with those of the user's that do not change the result; refuse any other difference."""
    from pemn_compress.train.run_config import RunConfig
    from pemn_formats.errors import PemnError

    before = run.options.to_options()
    preset = explicit.get("preset")
    if preset is not None:
        raise PemnError(f"{run.path} goes on with its own options; leave --preset out")
    for key, value in explicit.items():
        known = before.get(key)
        same = (
            known is not None and all(item in known.items() for item in value.items())
            if key == "model_args"
            else known == value
        )
        in_batches = run.options.train.augments_each_image and not run.options.from_disk
        if key == "workers" and known is None and in_batches:
            raise PemnError(
                f"{run.path} was started without --workers, and workers draw other random numbers; "
                "leave --workers out or start another run"
            )
        if not same and key not in _FREE:
            option = "--" + key.replace("_", "-")
            raise PemnError(
                f"{run.path} was started with {key} {known}, found {option} {value}; leave it out or start another run"
            )
    return RunConfig.from_options({**before, **{key: explicit[key] for key in _FREE if key in explicit}})


def _use(run: RunFolder, budget: int, result: FitResult) -> str:
    """How much of a budget the export of a run will use, and why it is little."""
    from pemn_compress.export import foresee_export

    if not result.fits:
        return ", which no epoch's file fits"
    found, reason = foresee_export(run)
    return f", of which an export uses {percent(found / budget, 1)}" + (f" ({reason})" if reason else "")


def _finished(run: RunFolder) -> FitResult | None:
    from pemn_compress.train.result import FitResult

    found = run.result
    if found is None:
        return None
    status(f"{run.path} is finished already; this is its result")
    return FitResult.from_dict(found)


def _report(run: RunFolder, result: FitResult, as_json: bool) -> None:
    masked = run.options.mask is not None
    follow_up = f"pemn-compress export model.pemn --run {run.quoted}" if masked and result.fits else None
    if as_json:
        print_json({"run": str(run.path), "masked": masked, **result.to_dict()})
        return
    rows = [
        ("run", str(run.path)),
        ("best epoch", f"{result.best_epoch} of {result.epochs}, chosen on {result.selected_on} images"),
    ]
    for name, found in (("validation", result.validation), ("test", result.test)):
        if found is not None:
            rows.append((name, f"{found.accuracy:.2f} %  ({found.correct:,} of {found.count:,})"))
    if result.density is not None:
        rows.append(("density", f"{result.density:.3f}"))
    rows.append(("file", f"about {size(result.estimated_bytes)}" + ("" if masked else " as a dense checkpoint")))
    if run.options.budget is not None:
        rows.append(("budget", size(run.options.budget) + _use(run, run.options.budget, result)))
    if follow_up:
        rows.append(("next", follow_up))
    print_table(rows)
    if not result.fits:
        status(
            f"warning: no epoch's file fits the budget of {size(run.options.budget or 0)}, and export will refuse it; "
            f"train for longer, a smaller net, or with a budget of {result.estimated_bytes:,} B or more"
        )
