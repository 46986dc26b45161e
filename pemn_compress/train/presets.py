"""Recipes by name, and how the options that a user gives override them."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Mapping
from typing import Any

from pemn_compress.config import MaskConfig
from pemn_compress.train.run_config import RunConfig
from pemn_formats.errors import PemnError

__all__ = ["PRESETS", "resolve"]

# The paper's supplement, for the networks that its code does not have: at most 1e-4, batches of 256, 200 epochs.
_PAPER_OTHERS: dict[str, Any] = {"epochs": 200, "batch_size": 256, "lr": 1e-4, "weight_decay": 5e-4}
_PAPER_NETS: dict[str, dict[str, Any]] = {"vit": {"dim": 256, "depth": 6}, "resnet": {"depth": 32}}

# Signed constants, a threshold and AdamW: what short runs favoured on held-out images.
_DEFAULT: dict[str, Any] = {
    "data": "cifar10",
    "model": "convmixer",
    "model_args": {},
    "strategy": "full",
    "epochs": 30,
    "batch_size": 128,
    "lr": 0.02,
    "weight_decay": 0.005,
    "schedule": "piecewise",
}


def _sized(budget: int, model: str, **model_args: int) -> dict[str, Any]:
    """A net for files of `budget` bytes: what short runs favoured (benchmarks/recipes.py)."""
    return {**_DEFAULT, "model": model, "model_args": model_args, "budget": budget}


PRESETS: dict[str, dict[str, Any]] = {
    "default": _DEFAULT,
    # With a fifth of the images held out: 98.3 % of those at the end on average, 97.6 % at least, seeds 0 to 5; 4.3 kB.
    # Ties within that spread: rates of 0.003 to 0.1, decay 0 or 0.05, label smoothing, batches of 32, 96 to 160 units.
    "digits": {
        "data": "digits",
        "model": "mlp",
        "model_args": {"hidden": 128, "depth": 2},
        "strategy": "rp",
        "epochs": 60,
        "batch_size": 64,
        "lr": 0.02,
        "weight_decay": 0.005,
        "schedule": "cosine",
        "threads": 1,
    },
    # The reference's README command for RP 1e-3 on ConvMixer (yueb17/PEMN); other networks: _PAPER_OTHERS.
    "paper": {
        "data": "cifar10",
        "model": "convmixer",
        "model_args": {"dim": 256, "depth": 6, "kernel": 5, "patch": 2},
        "strategy": "rp",
        "ratio": 1e-3,
        "distribution": "normal",
        "scale": "none",
        "alphabet": "keep",
        "learner": "topk",
        "density": 0.5,
        "epochs": 100,
        "batch_size": 512,
        "lr": 0.05,
        "weight_decay": 0.005,
        "schedule": "piecewise",
        "amp": "auto",
        "crop_scale": 1.0,
        "flip": True,
        "randaugment_n": 2,
        "randaugment_m": 12,
        "jitter": 0.2,
        "erasing": 0.2,
    },
    "12kb": _sized(12_000, "resnet", depth=14, width=13),
    "33kb": _sized(33_000, "resnet", depth=14, width=23),
    "66kb": _sized(66_000, "resnet", depth=14, width=34),
    "170kb": _sized(170_000, "resnet", depth=14, width=56),
}
"""Options by preset, under the names of `RunConfig.to_options`."""

_MIRRORED = ("cifar10", "cifar100", "fashion-mnist", "tiny-imagenet", "folder")
# The reference crops Tiny-ImageNet with a padding of 8 and mirrors it, and does nothing else to it.
_PAPER_TINY = {"shift": 8, "randaugment_n": 0, "jitter": 0.0, "erasing": 0.0}
_SIZES = ("dim", "hidden", "width", "depth")
_OF_MASKS = (*(field.name for field in dataclasses.fields(MaskConfig) if field.name != "seed"), "budget")


def resolve(preset: str | None, explicit: Mapping[str, Any]) -> RunConfig:
    """The run that a preset and the user's own options add up to; the user's options win.

    Without a preset it is `digits` for that data (which is the data when none is named) and `default` for any other.
    Where an option of the user's makes others of the preset meaningless, those go: another model drops the preset's
    arguments, a budget its width and depth, another strategy its ratio, `regular` everything about masks. With `paper`
    another model takes the recipe that the paper's supplement has for other networks than ConvMixer. Outside
    `paper`, photographs are shifted and mirrored; digits are not: they are not symmetric, and shifts cost 1 point of
    accuracy.

    Raises:
        PemnError: an unknown preset, or options that are wrong or contradict each other.
    """
    if preset is None:
        preset = "digits" if explicit.get("data", "digits") == "digits" else "default"
    asked, preset = preset, preset.lower()  # a size is spelled 12KB elsewhere
    if preset not in PRESETS:
        close = difflib.get_close_matches(preset, PRESETS, n=1)
        hint = f" (did you mean {close[0]!r}?)" if close else ""
        raise PemnError(f"unknown preset {asked!r}{hint}; known: {', '.join(PRESETS)}")
    for name in ("teacher_weight", "teacher_temperature"):
        if name in explicit and explicit.get("teacher") is None:
            raise PemnError(f"{name} is for learning from another net; name one with --teacher")
    options = dict(PRESETS[preset])
    if (model := explicit.get("model", options["model"])) != options["model"]:
        options["model_args"] = _PAPER_NETS.get(model, {}) if preset == "paper" else {}
        options.update(_PAPER_OTHERS if preset == "paper" else {})
    data = explicit.get("data", options["data"])
    if preset != "paper" and str(data).partition(":")[0] in _MIRRORED:
        options.update(flip=True, shift=0 if data == "fashion-mnist" else 4)
    elif data == "tiny-imagenet":
        options.update(_PAPER_TINY)
    _drop_meaningless(options, explicit)
    arguments = {**options["model_args"], **explicit.get("model_args", {})}
    return RunConfig.from_options({**options, **explicit, "model_args": arguments})


def _drop_meaningless(options: dict[str, Any], explicit: Mapping[str, Any]) -> None:
    gone: list[str] = []
    if "budget" in explicit:
        options["model_args"] = {key: value for key, value in options["model_args"].items() if key not in _SIZES}
    if explicit.get("strategy", options["strategy"]) != "rp":
        gone += ["ratio", "values", "mode"]
    if "values" in explicit or "ratio" in explicit:
        gone += ["values", "ratio"]
    if explicit.get("regular"):
        gone += _OF_MASKS
    for name in gone:
        options.pop(name, None)
