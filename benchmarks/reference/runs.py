"""What the baseline and our runs share: images, net and recipe, from the same command line."""

from __future__ import annotations

import argparse
import dataclasses
import gc
from collections.abc import Callable, Mapping
from typing import Any

from pemn_compress import fit
from pemn_compress.data import Splits
from pemn_compress.train.building import build_model
from pemn_compress.train.presets import resolve
from pemn_compress.train.progress import EpochReport, Progress
from pemn_compress.train.result import FitResult
from pemn_compress.train.run_config import RunConfig

__all__ = ["Ours", "describe", "net_options", "ours", "recipe_options"]


def net_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that both sides share."""
    parser.add_argument("--data", required=True, help="a data set's name, or folder:PATH")
    parser.add_argument("--describe", default=None, help="what the images are, for the results (never their path)")
    parser.add_argument("--limit-train", type=int, default=8_000, help="training images (0: all)")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--dim", type=int, default=48)
    parser.add_argument("--depth", type=int, default=4)
    parser.add_argument("--kernel", type=int, default=5)
    parser.add_argument("--patch", type=int, default=4)
    parser.add_argument("--randaugment", type=int, nargs=2, default=[2, 12], metavar=("N", "M"))
    parser.add_argument("--jitter", type=float, default=0.2)
    parser.add_argument("--erasing", type=float, default=0.2)
    parser.add_argument("--reference-workers", type=int, default=2, help="processes that augment for the reference")
    parser.add_argument("--threads", type=int, default=1, help="torch's threads, for both (0: its own choice)")
    parser.add_argument("--device", default="cpu")


def recipe_options(options: argparse.Namespace) -> dict[str, Any]:
    """Options of `RunConfig.from_options` that all rows share."""
    return {
        "data": "cifar10",
        "model": "convmixer",
        "model_args": {name: getattr(options, name) for name in ("dim", "depth", "kernel", "patch")},
        "batch_size": options.batch_size,
        "flip": True,
        "shift": 0,
        "randaugment_n": options.randaugment[0],
        "randaugment_m": options.randaugment[1],
        "jitter": options.jitter,
        "erasing": options.erasing,
        "threads": options.threads or None,
    }


def describe(splits: Splits, description: str | None) -> dict[str, Any]:
    """What the images are, for the results."""
    return {
        "kind": splits.spec.name.partition(":")[0],
        "description": description,
        "train": len(splits.train),
        "validation": len(splits.validation),
        "test": len(splits.test),
    }


def ours(preset: str, options: Mapping[str, Any]) -> Ours:
    """A run of ours: a preset with options over it."""
    return Ours(resolve(preset, options))


class _Epochs(Progress):
    def __init__(self) -> None:
        self.reports: list[EpochReport] = []

    def epoch(self, report: EpochReport) -> None:
        self.reports.append(report)


@dataclasses.dataclass(frozen=True)
class Ours:
    """A run of ours and how to train it."""

    config: RunConfig

    def train(self, splits: Splits) -> tuple[FitResult, list[EpochReport]]:
        """Train from the start; the result and what was measured after each epoch."""
        watched = _Epochs()
        model = build_model(self.config, splits.spec.to_input())
        result = fit(model, splits, self.config.train, progress=watched)
        return result, watched.reports

    def one_epoch_of(self, splits: Splits) -> Callable[[], Mapping[str, float]]:
        """A function that trains one epoch each time, and says how fast."""
        without_test = dataclasses.replace(splits, test=splits.test.subset(range(64)))

        def epoch() -> Mapping[str, float]:
            report = self.train(without_test)[1][0]
            gc.collect()  # the workers of this run end here, not inside those that the reference starts next
            return {"images_per_second": report.images_per_second, "seconds": report.seconds}

        return epoch
