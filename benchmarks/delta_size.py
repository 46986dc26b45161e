"""How large is the update from one checkpoint of a run to a later one, and a bundle of two tasks, beside the files?

    python -m benchmarks.delta_size [--quick]

Nets are trained on the embedded digits, and the content after every epoch is kept. Each patch is applied, and counts
only if the later file comes out byte for byte. The rival is what anybody has at hand: zstd-19 of the later file with
the earlier one as its dictionary (`zstd --patch-from`), which finds the bytes that did not change. A bundle holds two
nets over the same values, one trained on the digits and one on the digits and their mirror images, and counts only if
both files come out of it byte for byte.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import zstandard
from torch import nn

from benchmarks.record import RESULTS, write_results
from benchmarks.table import render
from pemn_compress import PemnError, fit
from pemn_compress.data import load_data
from pemn_compress.saving import to_content
from pemn_compress.train.building import build_model
from pemn_compress.train.presets import PRESETS
from pemn_compress.train.progress import EpochReport, Progress
from pemn_compress.train.run_config import RunConfig
from pemn_formats.bundle import join, parts
from pemn_formats.content import Content
from pemn_formats.delta import apply_delta, make_delta
from pemn_formats.diff import diff
from pemn_formats.reader import Reader, read
from pemn_formats.writer import encode

_DIGITS: Mapping[str, Any] = {**PRESETS["digits"], "device": "cpu"}
RUNS: Mapping[str, Mapping[str, Any]] = {
    "mlp": _DIGITS,
    "mlp, ternary, channel scales": {**_DIGITS, "alphabet": "ternary", "scale": "channel", "strategy": "full"},
    "convmixer-128/8": {
        **_DIGITS,
        "model": "convmixer",
        "model_args": {"dim": 128, "depth": 8, "patch": 2, "kernel": 3},
    },
}
EPOCHS = 20
BUNDLES: Mapping[str, Mapping[str, Any]] = {
    "from the seed": _DIGITS,
    "a stored vector, RP 1e-1 as in the paper": {
        **_DIGITS,
        "ratio": 0.1,
        "distribution": "normal",
        "scale": "none",
        "learner": "topk",
        "store": "vector",
    },
}
TASKS: Mapping[str, Mapping[str, Any]] = {"plain": {}, "mirrored": {"flip": True}}


class _Kept(Progress):
    def __init__(self, model: nn.Module, shown: Mapping[str, Any]) -> None:
        self.model, self.shown, self.contents = model, shown, list[Content]()

    def epoch(self, report: EpochReport) -> None:
        self.contents.append(to_content(self.model, input=self.shown))


def pairs(epochs: int) -> list[tuple[int, int]]:
    """Return which epochs are compared, counted from 1: neighbours early, midway and late, and the second half."""
    middle = epochs // 2
    found = [(1, 2), (middle, middle + 1), (middle, epochs), (epochs - 2, epochs - 1), (epochs - 1, epochs)]
    return sorted({(old, new) for old, new in found if 0 < old < new})


def measure(options: Mapping[str, Any], epochs: int) -> list[dict[str, Any]]:
    """Return the sizes for each pair of epochs of one run."""
    contents = contents_of(options, epochs)
    return [_pair(contents, old, new) for old, new in pairs(epochs)]


def measure_bundle(options: Mapping[str, Any], epochs: int) -> dict[str, Any]:
    """Return the sizes of the files of two tasks and of both in one file."""
    contents = {task: contents_of({**options, **changed}, epochs)[-1] for task, changed in TASKS.items()}
    files = {task: encode(content) for task, content in contents.items()}
    bundle = encode(join(contents))
    if {task: encode(each) for task, each in parts(read(bundle)).items()} != files:
        raise PemnError("the bundle does not give the files it was made of")
    return {"file_bytes": {task: len(file) for task, file in files.items()}, "bundle_bytes": len(bundle)}


def contents_of(options: Mapping[str, Any], epochs: int) -> list[Content]:
    """Train, and return the content after every epoch."""
    run = RunConfig.from_options({**options, "epochs": epochs})
    splits = load_data(run.data, validation=run.train.validation, seed=run.train.seed)
    shown = splits.spec.to_input()
    model = build_model(run, shown)
    kept = _Kept(model, shown)
    fit(model, splits, run.train, progress=kept)
    return kept.contents


def _pair(contents: Sequence[Content], old_epoch: int, new_epoch: int) -> dict[str, Any]:
    old, new = contents[old_epoch - 1], contents[new_epoch - 1]
    old_file, new_file, patch = encode(old), encode(new), encode(make_delta(old, new))
    if encode(apply_delta(old, read(patch))) != new_file:
        raise PemnError(f"the patch from epoch {old_epoch} to {new_epoch} does not give the later file")
    found = diff(old, new).to_dict()
    with Reader.open(patch) as reader:
        prelude = reader.prelude
    dictionary = zstandard.ZstdCompressionDict(old_file, dict_type=zstandard.DICT_TYPE_RAWCONTENT)
    rival = zstandard.ZstdCompressor(level=19, dict_data=dictionary).compress(new_file)
    return {
        "epochs": [old_epoch, new_epoch],
        "mask_weights": found["mask_weights"],
        "mask_changed": found["mask_changed"],
        "residual_values": found["residual_values"],
        "residual_changed": found["residual_changed"],
        "old_bytes": len(old_file),
        "new_bytes": len(new_file),
        "patch_bytes": len(patch),
        "patch_header": prelude.header_bytes,
        "patch_masks": prelude.mask_stored,
        "patch_residual": prelude.residual_stored,
        "patch_over_new": round(len(patch) / len(new_file), 4),
        "zstd_patch_from_bytes": len(rival),
    }


def show(name: str, rows: Sequence[Mapping[str, Any]]) -> str:
    """One run as a table."""
    header = (
        "epochs",
        "codes changed",
        "of",
        "old B",
        "new B",
        "patch B",
        "% of new",
        "header",
        "masks",
        "residual",
        "zstd",
    )
    keys = ("mask_changed", "mask_weights", "old_bytes", "new_bytes", "patch_bytes")
    parts = ("patch_header", "patch_masks", "patch_residual", "zstd_patch_from_bytes")
    table = [
        [
            "{} to {}".format(*row["epochs"]),
            *(row[key] for key in keys),
            100 * row["patch_over_new"],
            *(row[key] for key in parts),
        ]
        for row in rows
    ]
    return f"{name}\n\n{render(header, table)}\n"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="the first net alone, for three epochs")
    parser.add_argument("--out", type=Path, default=RESULTS / "delta_size.json")
    options = parser.parse_args(arguments)
    epochs = 3 if options.quick else EPOCHS
    results: dict[str, list[dict[str, Any]]] = {"runs": [], "bundles": []}
    for name, run in list(RUNS.items())[: 1 if options.quick else None]:
        rows = measure(run, epochs)
        results["runs"].append({"run": name, "data": "digits", "epochs": epochs, "patches": rows})
        print(show(name, rows), flush=True)
    for name, run in BUNDLES.items():
        found = measure_bundle(run, epochs)
        results["bundles"].append({"values": name, "epochs": epochs, **found})
        print(
            f"values {name}: {sum(found['file_bytes'].values()):,} B in two files, {found['bundle_bytes']:,} B in one"
        )
    write_results(options.out, results)


if __name__ == "__main__":
    main()
