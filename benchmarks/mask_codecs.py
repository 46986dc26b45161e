"""How close to Shannon does each mask codec come, how fast is it, and what do masks that were really learned take?

    python -m benchmarks.mask_codecs [--data folder:PATH] [--quick]

Random masks have independent bits; no coder can go below n H(density). Learned masks come from nets that are trained
here: digits from the package, and with `--data` a ResNet-20 and a ConvMixer on those images. Each codec codes the mask
stream in chunks as the writer does; `efforts` is what the writer takes with `--effort`, `chosen` what it takes by
default, which for masks of these sizes is the smallest. Rivals (`mask_rivals`) are zstd level 19 and xz preset 9 over
the packed bits, and NNCodec. Every coded form is decoded and compared before its time counts; times are medians of
alternating runs.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.mask_rivals import RIVALS, Rival, nncodec_version, rivals
from benchmarks.record import RESULTS, write_results
from benchmarks.table import render
from pemn_compress import MaskConfig, TrainConfig, fit, mask_
from pemn_compress.data import load_data
from pemn_compress.models import build, data_arguments
from pemn_compress.saving import to_content
from pemn_compress.train.subset import stratified_subset
from pemn_formats.bits import pack, popcount
from pemn_formats.codecs import MASK_CODECS, Codec, encode_smallest, encoders
from pemn_formats.content import Content, MaskedTensor, Prototype
from pemn_formats.ledger import entropy_bits
from pemn_formats.limits import CHUNK_BYTES
from pemn_formats.manifest import manifest_of
from pemn_formats.mask_lattice import mask_lattice

DENSITIES = (0.5, 0.3, 0.2, 0.1, 0.05, 0.03, 0.01, 0.003)
SIZES: Mapping[str, int] = {"64 k": 65_536, "0.6 M": 600_000, "8 M": 8_000_000}

MEASURED = ("balanced", "fast")  # `smallest` is another only for masks that are larger than these

# What is trained: name, images (digits, or those of --data), architecture, mask options, epochs, images at most.
_MLP: Mapping[str, Any] = {"hidden": 128, "depth": 2}
_RESNET: Mapping[str, Any] = {"depth": 20}
_MIXER: Mapping[str, Any] = {"kernel": 5, "patch": 4}
LEARNED: Sequence[tuple[str, bool, str, Mapping[str, Any], Mapping[str, Any], int, int]] = (
    ("mlp 128 x 2, keep", False, "mlp", _MLP, {}, 30, 0),
    ("mlp 128 x 2, ternary", False, "mlp", _MLP, {"alphabet": "ternary"}, 30, 0),
    ("mlp 128 x 2, topk density 0.1", False, "mlp", _MLP, {"learner": "topk", "density": 0.1}, 30, 0),
    ("mlp 128 x 2, topk density 0.03", False, "mlp", _MLP, {"learner": "topk", "density": 0.03}, 30, 0),
    ("mlp 128 x 2, topk density 0.95", False, "mlp", _MLP, {"learner": "topk", "density": 0.95}, 30, 0),
    ("resnet-20, keep", True, "resnet", _RESNET, {}, 4, 15_000),
    ("resnet-20, ternary", True, "resnet", _RESNET, {"alphabet": "ternary"}, 4, 15_000),
    ("resnet-20, topk density 0.05", True, "resnet", _RESNET, {"learner": "topk", "density": 0.05}, 4, 15_000),
    ("convmixer 128/4, keep", True, "convmixer", {"dim": 128, "depth": 4, **_MIXER}, {}, 4, 10_000),
    ("convmixer 256/8, keep", True, "convmixer", {"dim": 256, "depth": 8, **_MIXER}, {}, 2, 10_000),
)


def random_content(weights: int, density: float) -> Content:
    """One tensor without kernels whose mask bits are independent."""
    bits = np.random.default_rng(0).random(weights) < density
    tensor = MaskedTensor("w", (weights,), 0, 0, "keep", np.float32(1.0), None, (pack(bits),))
    return Content(0, (Prototype(251, "signed"),), (tensor,))


def learned_content(
    data: str, model: str, args: Mapping[str, Any], mask: Mapping[str, Any], epochs: int, limit: int
) -> tuple[Content, dict[str, Any]]:
    """Train a masked net; return its content and how it was trained."""
    splits = load_data(data)
    train = stratified_subset(splits.train, limit, 0) if limit and limit < len(splits.train) else splits.train
    splits = type(splits)(**{**vars(splits), "train": train})
    spec = splits.spec
    torch.manual_seed(0)
    fitting = data_arguments(model, classes=spec.classes, channels=spec.channels, size=spec.size)
    net = mask_(build(model, **{**fitting, **args}), MaskConfig(**mask))
    photographs = data != "digits"
    result = fit(net, splits, TrainConfig(epochs=epochs, flip=photographs, shift=2 if photographs else 0))
    kind = "digits" if data == "digits" else "images of a folder"
    trained = {
        "data": kind,
        "images": len(train),
        "epochs": epochs,
        "test_accuracy": result.test.accuracy,
        "args": dict(args),
        "mask": dict(mask),
    }
    return to_content(net), trained


def measure(content: Content, repeats: int) -> dict[str, Any]:
    """Bytes and speeds of every codec, of the writer's choice and of the rivals on one mask stream."""
    manifest = manifest_of(content)
    stream = b"".join(plane.tobytes() for tensor in content.masked for plane in tensor.planes)
    weights = sum(tensor.numel for tensor in content.masked)
    planes = [pair for t in content.masked for pair in zip(t.plane_bits, map(popcount, t.planes), strict=True)]
    shannon = sum(entropy_bits(bits, ones) for bits, ones in planes) / 8
    chunks = [
        (
            stream[at : at + CHUNK_BYTES],
            mask_lattice(manifest, content.prototypes, at, len(stream[at : at + CHUNK_BYTES])),
        )
        for at in range(0, len(stream), CHUNK_BYTES)
    ]
    efforts = {effort: _effort(effort, chunks, weights, repeats) for effort in MEASURED}
    row: dict[str, Any] = {
        "weights": weights,
        "shannon_bytes": shannon,
        "chosen": {key: efforts[MEASURED[0]][key] for key in ("codec", "bytes", "bits_per_weight")},
        "efforts": efforts,
        "codecs": {codec.name: _codec(codec, chunks, weights, repeats) for codec in MASK_CODECS},
        "rivals": {name: _rival(each, weights, repeats) for name, each in rivals(content, stream).items()},
    }
    for each in (row["chosen"], *(found for key in ("efforts", "codecs", "rivals") for found in row[key].values())):
        if each is not None and shannon:
            each["over_shannon_percent"] = round(100 * (each["bytes"] / shannon - 1), 3)
    return row


def _codec(codec: Codec, chunks: Sequence[tuple[bytes, Any]], weights: int, repeats: int) -> dict[str, Any] | None:
    def encode() -> list[bytes | None]:
        return [codec.encode(raw, lattice) for raw, lattice in chunks]

    coded = [stored for stored in encode() if stored is not None]
    if len(coded) != len(chunks):
        return None

    def decode() -> list[bytes]:
        return [codec.decode(stored, len(raw), lattice) for stored, (raw, lattice) in zip(coded, chunks, strict=True)]

    if decode() != [raw for raw, _ in chunks]:
        raise RuntimeError(f"{codec.name} does not give the mask back")
    return {"bytes": sum(map(len, coded)), **_speeds(encode, decode, weights, repeats)}


def _rival(rival: Rival | None, weights: int, repeats: int) -> dict[str, Any] | None:
    if rival is None:
        return None
    coded = rival.encode()
    if not rival.is_back(rival.decode(coded)):
        raise RuntimeError("a rival does not give the mask back")
    return {"bytes": len(coded), **_speeds(rival.encode, lambda: rival.decode(coded), weights, repeats)}


def _effort(effort: str, chunks: Sequence[tuple[bytes, Any]], weights: int, repeats: int) -> dict[str, Any]:
    """What the writer takes with an effort: bytes, speeds, seconds."""
    tried = encoders(effort, MASK_CODECS)

    def encode() -> list[tuple[Codec, bytes]]:
        return [encode_smallest(raw, tried, lattice) for raw, lattice in chunks]

    taken = encode()

    def decode() -> None:
        for (codec, stored), (raw, lattice) in zip(taken, chunks, strict=True):
            codec.decode(stored, len(raw), lattice)

    size = sum(len(stored) for _, stored in taken)
    speeds = _speeds(encode, decode, weights, repeats)
    return {
        "codec": ", ".join(dict.fromkeys(codec.name for codec, _ in taken)),
        "bytes": size,
        "bits_per_weight": 8 * size / weights,
        "encode_s": weights / 1e6 / speeds["encode_million_weights_per_s"],
        "decode_s": weights / 1e6 / speeds["decode_million_weights_per_s"],
        **speeds,
    }


def _speeds(encode: Callable[[], object], decode: Callable[[], object], weights: int, repeats: int) -> dict[str, float]:
    times: dict[str, list[float]] = {"encode": [], "decode": []}
    for _ in range(repeats):
        for name, function in (("encode", encode), ("decode", decode)):
            began = time.perf_counter()
            function()
            times[name].append(time.perf_counter() - began)
    return {f"{name}_million_weights_per_s": weights / statistics.median(t) / 1e6 for name, t in times.items()}


def show(rows: Sequence[Mapping[str, Any]]) -> str:
    """Percent over Shannon of every coder, a dash where it cannot or would not code the mask; seconds by effort."""
    names = [codec.name for codec in MASK_CODECS]
    body = [
        [
            row["name"],
            row["chosen"]["codec"],
            row["chosen"].get("over_shannon_percent"),
            *((row["codecs"][name] or {}).get("over_shannon_percent") for name in names),
            *((row["rivals"][name] or {}).get("over_shannon_percent") for name in RIVALS),
            row["efforts"]["fast"].get("over_shannon_percent"),
            *(f"{row['efforts'][effort]['encode_s']:.3f}" for effort in MEASURED),
        ]
        for row in rows
    ]
    return render(["mask", "chosen", "chosen %", *names, *RIVALS, "fast %", *(f"{each} s" for each in MEASURED)], body)


def main() -> None:
    """Measure, print and write `results/mask_codecs.json`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default=None, help="images for the convolutional nets, such as folder:PATH")
    parser.add_argument("--quick", action="store_true", help="the smallest size and digits alone, one repeat")
    parser.add_argument("--out", type=Path, default=RESULTS / "mask_codecs.json")
    options = parser.parse_args()
    torch.set_num_threads(1)
    sizes = dict(list(SIZES.items())[:1]) if options.quick else SIZES
    learned, independent = [], []
    for name, photographs, model, args, mask, epochs, limit in LEARNED:
        if photographs and (options.data is None or options.quick):
            continue
        content, trained = learned_content(options.data if photographs else "digits", model, args, mask, epochs, limit)
        learned.append({"name": name, "trained": trained, **measure(content, 1 if options.quick else 3)})
    print(show(learned), flush=True)
    for size, weights in sizes.items():
        for density in DENSITIES:
            repeats = 1 if options.quick or weights > 1_000_000 else 3
            row = {"name": f"{size}, density {density}", "density": density}
            independent.append({**row, **measure(random_content(weights, density), repeats)})
    print(show(independent))
    results = {"nncodec": nncodec_version(), "learned": learned, "independent": independent}
    print(f"wrote {write_results(options.out, results)}")


if __name__ == "__main__":
    main()
