"""`pemn-compress eval`: accuracy of a file on images."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pemn_cli.opening import about, opened
from pemn_cli.options import (
    batch_size_option,
    data_root_option,
    device_option,
    json_option,
    memory_option,
    model_argument,
    task_option,
)
from pemn_cli.output import print_json, print_table

if TYPE_CHECKING:
    from torch import nn

    from pemn_compress.data import DataSpec

__all__ = ["command"]


@click.command(name="eval", short_help="Measure accuracy and loss of a file on images.")
@model_argument
@task_option
@click.option("--data", metavar="NAME", help="Data set name or folder:PATH.  [default: the one the file names]")
@data_root_option
@click.option(
    "--split",
    default="test",
    show_default=True,
    type=click.Choice(["test", "validation", "train"]),
    help="Which images.",
)
@click.option(
    "--validation",
    default=0.1,
    show_default=True,
    metavar="FRACTION",
    type=click.FloatRange(0, 1, max_open=True),
    help="Training images held out.",
)
@click.option(
    "--seed",
    default=0,
    show_default=True,
    metavar="N",
    type=click.IntRange(0),
    help="Seed of that choice; use the values of the run.",
)
@click.option(
    "--model",
    "spec",
    metavar="SPEC",
    help="torchvision.NAME or package.module:factory, for a file that names no architecture.",
)
@click.option("--model-arg", "model_args", metavar="KEY=VALUE", multiple=True, help="Argument of --model; repeatable.")
@device_option
@batch_size_option
@click.option("--skip-corrupt", is_flag=True, help="Leave out images that cannot be read.")
@click.option("--from-disk", is_flag=True, help="Decode the images of folders a few at a time, not all before.")
@memory_option
@json_option
def command(
    model: Path,
    task: str | None,
    data: str | None,
    data_root: Path | None,
    split: str,
    validation: float,
    seed: int,
    spec: str | None,
    model_args: tuple[str, ...],
    device: str,
    batch_size: int,
    skip_corrupt: bool,
    from_disk: bool,
    memory_budget: int | None,
    as_json: bool,
) -> None:
    """Load a .pemn file as a plain network and measure it on images.

    Images are normalised with the mean and deviation that the file carries, so that data of the same kind under
    another name is seen as in training.

    \b
    Examples:
      pemn-compress eval model.pemn
      pemn-compress eval resnet18.pemn --model torchvision.resnet18 --data folder:photos --device cuda
    """
    from pemn_compress.data import DataSpec, load_data, load_test
    from pemn_compress.loading import check_room_for_weights, checked_device, rebuild_model
    from pemn_compress.train.evaluate import evaluate

    if model_args and spec is None:
        raise click.UsageError("--model-arg is for the model that --model names; give both or leave it out")
    place = checked_device(device)
    with opened(model, memory_budget=memory_budget) as reader:
        check_room_for_weights(reader, task, device=place, memory_budget=memory_budget)
        content = reader.model(task)
        wanted = None if content.input is None else DataSpec.from_input(content.input)
    name = _data_name(model, data, wanted)
    shape = _shape(name, wanted)
    reading: dict[str, Any] = {"root": data_root, "skip_corrupt": skip_corrupt, "from_disk": from_disk}
    if split == "test" and wanted is not None and shape:
        images, found = load_test(name, wanted, **reading)
    else:
        splits = load_data(name, validation=validation, seed=seed, **shape, **reading)
        images, found = getattr(splits, split), splits.spec
    seen = found if wanted is None else _fitting(model, wanted, found)
    into = None if spec is None else _user_model(spec, model_args)
    with about(model):
        network = rebuild_model(content, into=into, device=place)
    _wait(place.type)
    started = time.perf_counter()
    result = evaluate(network, images, seen, device=place, batch_size=batch_size)
    report = {
        **result.to_dict(),
        "file": str(model),
        "bytes": model.stat().st_size,
        "data": name,
        "split": split,
        "device": str(place),
        "images_per_second": result.count / (time.perf_counter() - started),
    }
    if as_json:
        print_json(report)
    else:
        _print(report)


def _print(report: dict[str, Any]) -> None:
    seen = f"{report['correct']:,} of {report['count']:,} {report['split']} images of {report['data']}"
    print_table(
        [
            ["accuracy", f"{report['accuracy']:.2f} %", seen],
            ["loss", f"{report['loss']:.4f}", "cross-entropy, nats"],
            ["speed", f"{report['images_per_second']:,.0f}", f"images/s on {report['device']}"],
        ],
        align="lrl",
    )


def _data_name(model: Path, data: str | None, wanted: DataSpec | None) -> str:
    from pemn_formats.errors import PemnError

    if data is not None:
        return data
    if wanted is None:
        raise PemnError(f"{model} does not name its data; give it with --data")
    if wanted.name == "folder":
        raise PemnError(f"{model} was trained on a folder of images; name the folder with --data folder:PATH")
    return wanted.name


def _shape(name: str, wanted: DataSpec | None) -> dict[str, Any]:
    """Folders and the file's own data are read in the size and channels that the network was trained for."""
    if wanted is None or (name != wanted.name and not name.startswith("folder:")):
        return {}
    return {"size": wanted.size, "channels": wanted.channels}


def _fitting(model: Path, wanted: DataSpec, found: DataSpec) -> DataSpec:
    """The data's description with the file's own normalisation, once classes, channels and size agree."""
    import dataclasses

    from pemn_formats.errors import PemnError

    for what in ("classes", "channels", "size"):
        expected, given = getattr(wanted, what), getattr(found, what)
        if expected != given:
            raise PemnError(
                f"{found.name} does not fit {model}: its images have {what} {_plain(given)},"
                f" the file expects {_plain(expected)}; choose other images with --data"
            )
    return dataclasses.replace(found, mean=wanted.mean, std=wanted.std)


def _plain(value: object) -> str:
    return "x".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _user_model(spec: str, arguments: tuple[str, ...]) -> nn.Module:
    from pemn_cli.model_arguments import parse
    from pemn_compress.models import build, is_user_model, resolve_user_model

    values = parse(arguments)
    return resolve_user_model(spec, **values) if is_user_model(spec) else build(spec, **values)


def _wait(device_type: str) -> None:
    if device_type == "cuda":
        import torch

        torch.cuda.synchronize()
