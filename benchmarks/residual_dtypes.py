"""What does rounding what is not masked cost in accuracy, and what does it save in bytes?

    python -m benchmarks.residual_dtypes [--seeds 3]

Small nets are trained on the embedded digits, some with their first and last layer left dense and stored in 8 bits.
Each is exported in every residual dtype, loaded, and compared with the trained model on the validation images, which
also chose the epoch; the test images are not looked at. Residual bytes are those in the file, after zstd; beside them
stands what they would take if the bytes of each value were first parted into planes.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from benchmarks.record import RESULTS, write_results
from benchmarks.table import render
from pemn_compress import fit
from pemn_compress.data import Splits, load_data, normalise
from pemn_compress.loading import rebuild_model
from pemn_compress.logits import logit_change
from pemn_compress.residual import RESIDUAL_DTYPES
from pemn_compress.saving import to_content
from pemn_compress.train.building import build_model
from pemn_compress.train.evaluate import evaluate
from pemn_compress.train.run_config import RunConfig
from pemn_formats.codecs.zstd import compress
from pemn_formats.content import Content
from pemn_formats.reader import Reader
from pemn_formats.writer import encode

__all__ = ["NETS", "measure", "planes_bytes", "summary", "train"]

_RECIPE: Mapping[str, Any] = {"batch_size": 64, "lr": 0.02, "weight_decay": 0.005, "schedule": "cosine", "threads": 1}
_MLP: Mapping[str, Any] = {"model": "mlp", "model_args": {"hidden": 128, "depth": 2}, "epochs": 40}
_CONVMIXER: Mapping[str, Any] = {
    "model": "convmixer",
    "model_args": {"dim": 48, "depth": 4, "kernel": 3, "patch": 2},
    "epochs": 25,
}
_ENDS = {"int8_layers": ["first", "last"]}

NETS: Mapping[str, Mapping[str, Any]] = {
    "mlp": {**_MLP, "strategy": "rp"},
    "mlp, channel scales": {**_MLP, "scale": "channel"},
    "mlp, ends in int8": {**_MLP, **_ENDS, "strategy": "rp"},
    "convmixer": _CONVMIXER,
    "convmixer, paper's masks": {**_CONVMIXER, "learner": "topk", "distribution": "normal", "scale": "none"},
    "convmixer, ends in int8": {**_CONVMIXER, **_ENDS},
    "resnet-20": {"model": "resnet", "model_args": {"depth": 20, "width": 8}, "epochs": 20},
    "vit": {"model": "vit", "model_args": {"dim": 48, "depth": 3, "patch": 2, "heads": 4}, "epochs": 40},
}
VARIANTS = (*RESIDUAL_DTYPES, "lossless")


def train(options: Mapping[str, Any], splits: Splits, seed: int) -> nn.Module:
    """Return a net of the recipe above with its best weights, in evaluation mode."""
    config = RunConfig.from_options({**_RECIPE, **options, "seed": seed})
    model = build_model(config, splits.spec.to_input())
    fit(model, splits, config.train)
    return model.eval()


def measure(model: nn.Module, splits: Splits) -> list[dict[str, Any]]:
    """Return bytes, validation accuracy in percent and the change of the logits for every variant of a net's file."""
    inputs = normalise(splits.validation.images, splits.spec)
    before = evaluate(model, splits.validation, splits.spec).accuracy
    rows = []
    for variant in VARIANTS:
        lossless = variant == "lossless"
        content = to_content(model, residual_dtype="float32" if lossless else variant, lossless=lossless)
        data = encode(content)
        with Reader.open(data) as reader:
            ledger = reader.ledger()
        loaded = rebuild_model(content)
        change = logit_change(model, loaded, inputs, "validation images")
        rows.append(
            {
                "residual": variant,
                "file_bytes": ledger.file_bytes,
                "residual_bytes": ledger.residual,
                "residual_bytes_in_planes": min(ledger.residual, planes_bytes(content)),
                "trained_accuracy": before,
                "accuracy_change": evaluate(loaded, splits.validation, splits.spec).accuracy - before,
                "largest_logit_change": change.relative,
                "changed_predictions": change.changed_predictions,
                "images": change.count,
            }
        )
    return rows


def planes_bytes(content: Content) -> int:
    """Bytes of the residual if each entry held the first bytes of all its values, then the second ones, and so on."""
    planes = (
        np.frombuffer(entry.values.tobytes(), np.uint8).reshape(-1, entry.values.itemsize).T.tobytes()
        for entry in content.residual
    )
    return len(compress(b"".join(planes)))


def summary(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return one row for each net and variant: means over the seeds, and the worst of what must not be large."""
    out = []
    for net, variant in dict.fromkeys((row["net"], row["residual"]) for row in rows):
        held = [row for row in rows if (row["net"], row["residual"]) == (net, variant)]

        def mean(key: str, held: list[dict[str, Any]] = held) -> float:
            return statistics.fmean(row[key] for row in held)

        saved = mean("residual_bytes") - mean("residual_bytes_in_planes")
        out.append(
            {
                "net": net,
                "residual": variant,
                "seeds": len(held),
                "file_bytes": mean("file_bytes"),
                "residual_bytes": mean("residual_bytes"),
                "planes_would_save_percent": 100 * saved / mean("file_bytes"),
                "trained_accuracy": mean("trained_accuracy"),
                "accuracy_change": mean("accuracy_change"),
                "worst_accuracy_change": min(row["accuracy_change"] for row in held),
                "largest_logit_change": max(row["largest_logit_change"] for row in held),
            }
        )
    return out


def main() -> None:
    """Measure, print a table, write the results."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--nets", nargs="*", default=list(NETS), choices=list(NETS))
    parser.add_argument("--out", type=Path, default=RESULTS / "residual_dtypes.json")
    given = parser.parse_args()
    rows = []
    for name in given.nets:
        for seed in range(given.seeds):
            splits = load_data("digits", seed=seed)
            rows += [{"net": name, "seed": seed, **row} for row in measure(train(NETS[name], splits, seed), splits)]
            print(f"{name}, seed {seed}: {rows[-1]['trained_accuracy']:.2f} %", flush=True)
    means = summary(rows)
    columns = ("file_bytes", "residual_bytes", "planes_would_save_percent", "trained_accuracy", "accuracy_change")
    columns += ("worst_accuracy_change", "largest_logit_change")
    header = ("net", "residual", "file B", "residual B", "planes %", "accuracy", "change", "worst", "logits")
    print(render(header, [[row["net"], row["residual"], *(row[key] for key in columns)] for row in means]))
    path = write_results(given.out, {"command": "python -m benchmarks.residual_dtypes", "summary": means, "rows": rows})
    print(f"wrote {path}")


if __name__ == "__main__":
    main()
