"""`pemn-compress demo`: the whole job on the embedded digits, step by step, with the commands that do the same."""

from __future__ import annotations

import shlex
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pemn_cli.failures import Interrupted
from pemn_cli.options import PATH, json_option
from pemn_cli.output import print_json, print_line, print_table, ratio, seconds, status

if TYPE_CHECKING:
    from pemn_compress.train.run import RunFolder
    from pemn_formats.ledger import Ledger

__all__ = ["command"]

PRESET = "digits"


@click.command(name="demo", short_help="Do all of it on the embedded digits, in about a minute.")
@click.option("--out", type=PATH, default=Path("demo"), show_default=True, help="Folder for everything it makes.")
@click.option("--seed", default=0, show_default=True, help="Seed of values, scores and order.")
@click.option("--force", is_flag=True, help="Replace an earlier demo in that folder.")
@json_option
def command(out: Path, seed: int, force: bool, as_json: bool) -> None:
    """Train, export, load, evaluate and measure a masked network on the embedded digits, beside a dense baseline.

    Needs no network and no GPU. Each step is shown as the command that does the same, so that it can be repeated and
    changed; everything is kept in the folder.

    \b
    Example:
      pemn-compress demo --out /tmp/demo
    """
    from pemn_formats.errors import PemnError

    if out.exists() and not out.is_dir():
        raise PemnError(f"--out {out} is not a folder; name a folder")
    if out.is_dir() and any(out.iterdir()) and not force:
        raise PemnError(f"the folder {out} is not empty; use --force to replace an earlier demo, or another --out")
    started = time.perf_counter()
    try:
        report = _demo(out, seed, force=force, quiet=as_json)
    except KeyboardInterrupt:
        raise Interrupted(f"start again with: pemn-compress demo --out {shlex.quote(str(out))} --force") from None
    report["seconds"] = time.perf_counter() - started
    if as_json:
        print_json(report)
    else:
        _print(report)


def _demo(out: Path, seed: int, *, force: bool, quiet: bool) -> dict[str, Any]:
    from pemn_cli.ledger_table import DenseFile, rows
    from pemn_compress.export import export_run
    from pemn_compress.train.evaluate import evaluate

    model, runs = out / "digits.pemn", out / "runs"
    trained = ["train", "--data", "digits", "--seed", seed, "--runs-dir", runs]
    _step("learn which of the free values to keep, one bit a weight", *trained, "--run", "masked")
    masked = _train(runs, "masked", {"seed": seed}, force=force)
    _step("the same network with ordinary weights, to compare with", *trained, "--regular", "--run", "dense")
    dense = _train(runs, "dense", {"seed": seed, "regular": True}, force=force)
    _step("write the masks, and decode them again to be sure", "export", model, "--run", masked.path)
    exported = export_run(masked, model, force=force)
    _step("rebuild ordinary weights from the file", "load", model, "--to", out / "digits.safetensors")
    network, loading = _load(model, out / "digits.safetensors")
    _step("look at the test images with them", "eval", model)
    images, spec = _test_images(masked)
    loaded = evaluate(network, images, spec)
    checkpoints = _dense_files(dense, out)
    _step(
        "account for every byte", "size-report", model, "--dense", checkpoints[0]["file"], "--plot", out / "sizes.svg"
    )
    _draw(model, exported.ledger, out / "sizes.svg")
    if not quiet:
        print_table(rows([exported.ledger], DenseFile(*_of(checkpoints[0]))), align="lr", header=["", model.name])
        print_line()
    return {
        "masked": {
            "file": str(model),
            "bytes": exported.ledger.file_bytes,
            "accuracy": loaded.accuracy,
            "accuracy_before_export": None if exported.before is None else exported.before.accuracy,
            "loading_seconds": loading,
        },
        "dense": checkpoints,
    }


def _step(purpose: str, *command: object) -> None:
    """Say what comes next and which command does it."""
    status("")
    status(f"# {purpose}")
    status("$ pemn-compress " + " ".join(shlex.quote(str(word)) for word in command))


def _train(runs: Path, name: str, options: dict[str, Any], *, force: bool) -> RunFolder:
    import sys

    from pemn_cli.train_progress import Display
    from pemn_compress.train.job import start
    from pemn_compress.train.presets import resolve
    from pemn_compress.train.progress import EpochReport

    class Brief(Display):
        """Where there is no bar, a line every ten epochs."""

        def epoch(self, report: EpochReport) -> None:
            if sys.stderr.isatty() or report.epoch % 10 == 0:
                super().epoch(report)

    job = start(resolve(PRESET, options), runs=runs, name=name, force=force)
    with Brief(job.options.train.epochs, 1) as display:
        job.train(display)
    return job.run


def _load(model: Path, out: Path) -> tuple[Any, float]:
    """The plain network of a file, written as dense safetensors too, and how long loading took."""
    from safetensors.torch import save

    from pemn_compress.loading import load_model
    from pemn_formats.atomic import atomic_write

    started = time.perf_counter()
    network = load_model(model)
    elapsed = time.perf_counter() - started
    with atomic_write(out, force=True) as file:
        file.write(save(network.state_dict(), metadata={"format": "pt"}))
    return network, elapsed


def _test_images(run: RunFolder) -> Any:
    from pemn_compress.data import DataSpec, load_test

    return load_test(run.options.data, DataSpec.from_input(run.input))


def _dense_files(run: RunFolder, out: Path) -> list[dict[str, Any]]:
    """The dense baseline as people ship it, each with its bytes on disk and its test accuracy."""
    import io

    import torch
    from safetensors.torch import save

    from pemn_compress.train.evaluate import evaluate
    from pemn_formats.atomic import atomic_write

    model = run.build_model()
    state = {name: value.contiguous() for name, value in model.state_dict().items()}
    half = {name: value.half() if value.is_floating_point() else value for name, value in state.items()}
    pickled = io.BytesIO()
    torch.save(state, pickled)
    forms = [
        ("torch.save, float32", "dense.pt", pickled.getvalue(), state),
        ("safetensors, float32", "dense.safetensors", save(state), state),
        ("safetensors, float16", "dense-float16.safetensors", save(half), half),
    ]
    found = []
    images, spec = _test_images(run)
    for form, name, data, values in forms:
        with atomic_write(out / name, force=True) as file:
            file.write(data)
        model.load_state_dict(values)
        accuracy = evaluate(model, images, spec).accuracy
        found.append({"form": form, "file": str(out / name), "bytes": len(data), "accuracy": accuracy})
    return found


def _draw(model: Path, ledger: Ledger, picture: Path) -> None:
    from pemn_cli.ledger_table import bar
    from pemn_cli.plot import draw
    from pemn_formats.errors import PemnError

    try:
        draw([bar(model, ledger)], picture, force=True)
    except PemnError as error:
        status(f"no picture: {error}")
    else:
        status(f"drew {picture}")


def _of(checkpoint: dict[str, Any]) -> tuple[Path, int]:
    return Path(checkpoint["file"]), int(checkpoint["bytes"])


def _print(report: dict[str, Any]) -> None:
    masked = report["masked"]
    lines = [["masked, this file", f"{masked['accuracy']:.2f} %", f"{masked['bytes']:,} B", "1x", masked["file"]]]
    lines += [
        [
            f"dense, {each['form']}",
            f"{each['accuracy']:.2f} %",
            f"{each['bytes']:,} B",
            ratio(each["bytes"], masked["bytes"]),
            each["file"],
        ]
        for each in report["dense"]
    ]
    print_table(lines, header=["network", "test accuracy", "bytes", "over masked", "file"], align="lrrrl")
    print_line()
    print_line(
        f"{seconds(report['seconds'])} in all; the masked file took {seconds(masked['loading_seconds'])} to load"
    )
