"""The options of `pemn-compress train`, in sections; nothing here imports torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

from pemn_cli.byte_size import BYTES

__all__ = ["RECIPE", "SectionedCommand", "net_options", "recipe_options"]

_Function = TypeVar("_Function", bound=Callable[..., Any])


class _Option(click.Option):
    """An option that knows its section of the help."""

    def __init__(self, *args: Any, section: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.section = section


class SectionedCommand(click.Command):
    """A command whose help lists its options in sections; those without one come last."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        sections: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None:
                title = parameter.section if isinstance(parameter, _Option) else "Run"
                sections.setdefault(title, []).append(record)
        for title, records in sections.items():
            with formatter.section(title):
                formatter.write_dl(records)


def _option(section: str, *names: str, **kwargs: Any) -> _Option:
    return _Option([*names], section=section, **kwargs)


def _names(ctx: click.Context, parameter: click.Parameter, text: str | None) -> tuple[str, ...] | None:
    return None if text is None else tuple(name.strip() for name in text.split(","))


_DATA, _MODEL, _MASK, _RECIPE, _AUGMENT, _MACHINE = "Data", "Model", "Masks", "Recipe", "Augmentation", "Machine"

_OPTIONS = [
    _option(
        _DATA,
        "--data",
        metavar="NAME",
        help="digits, mnist, fashion-mnist, cifar10, cifar100, tiny-imagenet or "
        "folder:PATH with train/ and test/.  [default: digits]",
    ),
    _option(_DATA, "--data-root", metavar="DIR", help="Where data sets are kept."),
    _option(_DATA, "--size", type=int, metavar="N", help="Resize images to N x N."),
    _option(_DATA, "--skip-corrupt", is_flag=True, help="Pass over images that cannot be read."),
    _option(
        _DATA,
        "--from-disk",
        is_flag=True,
        help="Leave images in their files and decode them at each use, in worker processes: for sets larger "
        "than memory.",
    ),
    _option(_DATA, "--limit-train", type=int, metavar="N", help="Train on N of the images, each class in proportion."),
    _option(_DATA, "--validation", type=float, metavar="FRACTION", help="Training images held out.  [default: 0.1]"),
    _option(
        _DATA,
        "--select-on",
        type=click.Choice(["validation", "test"]),
        help="Images that choose the best epoch; test is how the paper reports, and flatters.",
    ),
    _option(
        _MODEL,
        "--model",
        metavar="NAME",
        help="convmixer, resnet, vit, mlp, torchvision.NAME or package.module:factory.",
    ),
    _option(_MODEL, "--model-arg", "model_arg", multiple=True, metavar="KEY=VALUE", help="An argument of the model."),
    _option(
        _MODEL,
        "--budget",
        type=BYTES,
        metavar="SIZE",
        help="Bytes that the exported file may take, such as 64KB: chooses width and depth.",
    ),
    _option(_MODEL, "--dim", type=int, metavar="N", help="Channels of a convmixer or vit."),
    _option(_MODEL, "--depth", type=int, metavar="N", help="Blocks or layers."),
    _option(_MODEL, "--kernel", type=int, metavar="N", help="Kernel side of a convmixer."),
    _option(_MODEL, "--patch", type=int, metavar="N", help="Patch side of a convmixer or vit."),
    _option(_MODEL, "--width", type=int, metavar="N", help="First width of a resnet."),
    _option(_MASK, "--regular", is_flag=True, help="No masks: train the same model dense."),
    _option(_MASK, "--strategy", type=click.Choice(["full", "one-layer", "mp", "rp"]), help="Where values come from."),
    _option(_MASK, "--ratio", type=float, metavar="R", help="rp: length of the vector as part of the largest layer."),
    _option(_MASK, "--values", type=int, metavar="N", help="rp: length of the vector."),
    _option(_MASK, "--mode", type=click.Choice(["copy", "rand"]), help="rp: tile the vector, or also shuffle."),
    _option(_MASK, "--distribution", type=click.Choice(["signed", "uniform", "normal"]), help="Of the values."),
    _option(_MASK, "--scale", type=click.Choice(["none", "tensor", "channel"]), help="What values are scaled by."),
    _option(_MASK, "--alphabet", type=click.Choice(["keep", "sign", "ternary"]), help="What a mask chooses between."),
    _option(
        _MASK, "--learner", type=click.Choice(["threshold", "topk", "topk-global"]), help="How scores become a mask."
    ),
    _option(_MASK, "--density", type=float, metavar="D", help="Fraction kept, between 0 and 1."),
    _option(
        _MASK,
        "--int8-layers",
        metavar="NAMES",
        callback=_names,
        help="Layers left dense and exported in 8 bits: first, last or module paths, with commas.",
    ),
    _option(
        _MASK,
        "--residual-dtype",
        type=click.Choice(["float16", "float32", "log8"]),
        help="Type of what is not masked in an export.  [default: float16; with --budget as precise as fits]",
    ),
    _option(_MASK, "--store", type=click.Choice(["seed", "vector"]), help="What an export carries of the values."),
    _option(_MASK, "--learn-values", is_flag=True, help="Train the shared values too; an export carries the vector."),
    _option(
        _RECIPE,
        "--preset",
        metavar="NAME",
        help="default, digits, paper (the reference's README command; for other nets than convmixer the recipe of the "
        "paper's supplement), or a net for a file of 12kb, 33kb, 66kb or 170kb.  [default: by the data]",
    ),
    _option(_RECIPE, "--epochs", type=int, metavar="N", help="Passes over the training images."),
    _option(_RECIPE, "--batch-size", type=int, metavar="N", help="Images a step."),
    _option(_RECIPE, "--lr", type=float, metavar="RATE", help="Peak learning rate of AdamW."),
    _option(_RECIPE, "--weight-decay", type=float, metavar="D", help="Of AdamW."),
    _option(_RECIPE, "--schedule", type=click.Choice(["piecewise", "cosine"]), help="Of the learning rate."),
    _option(
        _RECIPE,
        "--density-ramp",
        type=float,
        metavar="PART",
        help="topk-global: part of the run to go from half of the weights to --density.",
    ),
    _option(_RECIPE, "--grad-clip", type=float, metavar="NORM", help="Largest norm of the gradient."),
    _option(_RECIPE, "--label-smoothing", type=float, metavar="P", help="Probability spread over all classes."),
    _option(
        _RECIPE,
        "--rate",
        type=float,
        metavar="LAMBDA",
        help="Price of the masks' entropy, in nats of loss for one bit a weight.  [default: 0]",
    ),
    _option(_RECIPE, "--teacher", metavar="RUN", help="Learn from the net of a run or a file too.  [default: none]"),
    _option(_RECIPE, "--teacher-weight", type=float, metavar="W", help="Share of the teacher.  [default: 0.5]"),
    _option(_RECIPE, "--teacher-temperature", type=float, metavar="T", help="Softens answers.  [default: 2]"),
    _option(
        _RECIPE,
        "--init-from",
        metavar="RUN",
        help="Start sign masks or a dense net from the dense weights of a run or a file.",
    ),
    _option(_RECIPE, "--ema", type=float, metavar="DECAY", help="Average the weights; the average is exported."),
    _option(_RECIPE, "--seed", type=int, metavar="N", help="Of values, scores, order and augmentation.  [default: 0]"),
    _option(_AUGMENT, "--shift", type=int, metavar="PIXELS", help="Move images by up to this much."),
    _option(_AUGMENT, "--flip/--no-flip", default=None, help="Mirror every other image."),
    _option(_AUGMENT, "--crop-scale", type=float, metavar="S", help="Crop squares of S to 1 times the area."),
    _option(
        _AUGMENT, "--randaugment", type=int, nargs=2, metavar="N M", help="RandAugment: N operations of magnitude M."
    ),
    _option(_AUGMENT, "--jitter", type=float, metavar="J", help="Change of brightness, contrast and saturation."),
    _option(_AUGMENT, "--mixup", type=float, metavar="ALPHA", help="Mix images and labels by a share from Beta(A, A)."),
    _option(_AUGMENT, "--cutmix", type=float, metavar="ALPHA", help="Paste boxes of others, labels in proportion."),
    _option(_AUGMENT, "--erasing", type=float, metavar="P", help="Probability of an erased rectangle."),
    _option(_MACHINE, "--device", metavar="DEVICE", help="cpu, cuda, cuda:N or auto.  [default: auto]"),
    _option(
        _MACHINE,
        "--workers",
        type=int,
        metavar="N",
        help="Keep images on the host and augment one by one in N processes.  [default: in batches on the device; "
        "with --from-disk one for each processor, up to 8]",
    ),
    _option(_MACHINE, "--threads", type=int, metavar="N", help="CPU threads.  [default: torch's; digits: 1]"),
    _option(
        _MACHINE,
        "--amp",
        type=click.Choice(["auto", "off", "bfloat16", "float16"]),
        help="Half precision; auto is float16 on CUDA.",
    ),
    _option(
        _MACHINE, "--channels-last/--no-channels-last", default=None, help="Memory format.  [default: last on the CPU]"
    ),
    _option(_MACHINE, "--compile", is_flag=True, help="Train through torch.compile."),
]

RECIPE = tuple(option.name or "" for option in _OPTIONS)
"""The parameter names of the options above: what makes a run, as against where it is kept and how it is shown."""


def recipe_options(function: _Function) -> _Function:
    """Give a command every option of the recipe, in their order; values that the user left out are ignored."""
    return _given(_OPTIONS, function)


def net_options(function: _Function) -> _Function:
    """Give a command the options that decide how large a file is, but for the data and the model's name."""
    left_out = {"model", "regular", "budget"}
    wanted = [each for each in _OPTIONS if each.section in (_MODEL, _MASK) and each.name not in left_out]
    return _given(wanted, function)


def _given(options: Sequence[click.Option], function: _Function) -> _Function:
    for option in reversed(options):
        params: list[click.Parameter] = function.__dict__.setdefault("__click_params__", [])
        params.append(option)
    return function
