"""What does predicting large masks cost when they are loaded? Masks that were really learned, each `--effort`.

    python -m benchmarks.load_learned [--epochs 8] [--repeats 7] [--threads 1 2]

A net of ten layers, about 90 million weights, learns the digits of the package for a few epochs. Its masks are written
with each effort and fill the parameters of a model that exists, as in `load_in_place`, whose code times them beside the
dense files of the same net.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.load_in_place import Way, dense_ways, measure, show
from benchmarks.record import RESULTS, write_results
from pemn_compress import MaskConfig, TrainConfig, fit, load_model, mask_, merge_
from pemn_compress.data import load_data
from pemn_compress.models import build, data_arguments
from pemn_compress.saving import to_content
from pemn_formats.codecs import EFFORTS
from pemn_formats.content import Content
from pemn_formats.reader import Reader
from pemn_formats.writer import write


def learned(hidden: int, depth: int, epochs: int) -> tuple[Content, torch.nn.Module, dict[str, Any]]:
    """Train a masked net on the digits; return its content, its dense form and how it was trained."""
    splits = load_data("digits")
    spec = splits.spec
    torch.manual_seed(0)
    fitting = data_arguments("mlp", classes=spec.classes, channels=spec.channels, size=spec.size)
    net = mask_(build("mlp", **{**fitting, "hidden": hidden, "depth": depth}), MaskConfig())
    result = fit(net, splits, TrainConfig(epochs=epochs))
    content = to_content(net, lossless=True)
    trained = {
        "data": "digits",
        "hidden": hidden,
        "depth": depth,
        "epochs": epochs,
        "test_accuracy": result.test.accuracy,
    }
    return content, merge_(net), trained


def ways(content: Content, model: torch.nn.Module, folder: Path) -> tuple[dict[str, Way], dict[str, Any]]:
    """Write the content with each effort; return every way to fill the model, and what each effort wrote."""
    dense = dense_ways(model, folder)
    expected = {name: value.clone() for name, value in model.state_dict().items()}
    weights = sum(tensor.numel for tensor in content.masked)
    ours: dict[str, Way] = {}
    efforts: dict[str, Any] = {}
    for effort in EFFORTS:
        path = folder / f"{effort}.pemn"
        began = time.perf_counter()
        ledger = write(path, content, effort=effort, threads=torch.get_num_threads())
        seconds = time.perf_counter() - began
        with Reader.open(path) as reader:
            codecs = reader.codecs()["masks"]
        efforts[effort] = {
            "file_bytes": ledger.file_bytes,
            "bits_per_weight": round(8 * ledger.masks / weights, 4),
            "over_shannon": round(ledger.masks / ledger.shannon_bytes - 1, 5),
            "codecs": codecs,
            "write_s": round(seconds, 2),
        }
        ours[f"pemn {effort}"] = (path, lambda path=path: load_model(path, into=model))  # type: ignore[misc]
        load_model(path, into=model)
        for name, value in model.state_dict().items():
            if not torch.equal(value, expected[name]):
                raise RuntimeError(f"effort {effort} gives other values for {name}")
    return ours | dense, efforts


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--hidden", type=int, default=3000, help="units of a layer")
    parser.add_argument("--depth", type=int, default=11, help="hidden layers")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--out", type=Path, default=RESULTS / "load_learned.json")
    options = parser.parse_args(arguments)
    content, model, trained = learned(options.hidden, options.depth, options.epochs)
    print(trained, flush=True)
    by_threads = {}
    with tempfile.TemporaryDirectory() as folder:
        found, efforts = ways(content, model, Path(folder))
        print(efforts, flush=True)
        for threads in options.threads:
            torch.set_num_threads(threads)
            by_threads[str(threads)] = measure(found, threads, options.repeats)
            print(show(by_threads[str(threads)], threads), flush=True)
    facts = {"weights": sum(tensor.numel for tensor in content.masked), "device": "cpu", "repeats": options.repeats}
    write_results(options.out, {**facts, "trained": trained, "efforts": efforts, "ways_by_threads": by_threads})


if __name__ == "__main__":
    main()
