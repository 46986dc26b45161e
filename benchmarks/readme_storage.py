"""The README's regions on the size of files and masks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.markdown import byte_count, table

__all__ = ["masks", "storage"]


def storage(results: Mapping[str, Any]) -> str:
    """Every net with a seed beside its dense checkpoints, and RP with its vector."""
    rows = []
    for net in results["nets"]:
        seeded = _file(net, "rp 1e-3 copy", "seed")
        vector = _file(net, "rp 1e-3 copy", "vector")
        rows.append(
            (
                net["net"],
                f"{net['masked_weights']:,}",
                byte_count(net["dense_bytes"]["safetensors float32"]),
                byte_count(seeded["bytes"]),
                f"{seeded['ratio']['safetensors float32']:.1f}x",
                f"{seeded['ratio']['safetensors float16']:.1f}x",
                f"{vector['ratio']['safetensors float32']:.1f}x",
                f"{vector['paper_ratio']:.1f}x",
            )
        )
    header = (
        "net",
        "masked weights",
        "safetensors float32",
        "`.pemn`, seed",
        "smaller than float32",
        "than float16",
        "with the RP 1e-3 vector inside",
        "the paper's count",
    )
    return (
        "Whole files, every byte counted, with masks that no coder can shrink, against dense checkpoints of the same"
        " net (`python -m benchmarks.storage_ratio`, which has every strategy and rival):"
        f"\n\n{table(header, rows)}\n\n"
        "The paper counts float values and one bit a masked weight, and leaves out BatchNorm, biases and headers."
    )


def masks(results: Mapping[str, Any]) -> str:
    """What coding saves on masks that were really learned."""
    rows = [
        (
            each["name"],
            f"{each['weights']:,}",
            *(_bits(size, each["weights"]) for size in (each["shannon_bytes"], each["chosen"]["bytes"])),
            each["chosen"]["codec"],
            _bits(each["efforts"]["fast"]["bytes"], each["weights"]),
            _bits((each["rivals"]["nncodec"] or {}).get("bytes"), each["weights"]),
            f"{next(iter(each['efforts'].values()))['decode_million_weights_per_s']:,.0f}",  # the default comes first
        )
        for each in results["learned"]
    ]
    header = (
        *("learned masks", "weights", "n H(density)", "ours", "codec", "`--effort fast`", "NNCodec"),
        "ours read, million weights a second",
    )
    return (
        "Masks that were really learned are smaller: rows of a layer resemble mixtures of other rows, neighbours in a"
        " convolution kernel tend to agree, and the coder uses both. In bits a weight, beside the entropy of"
        " independent bits of the same densities"
        f" (`python -m benchmarks.mask_codecs`, one thread):\n\n{table(header, rows)}\n\n"
        "`--effort fast` leaves the context coder out, and what it writes is read far sooner; without the compiled"
        " loops the coder is much slower. Masks of more than 2^23 bits are left out by default too, so that large"
        f" files load fast; `--effort smallest` codes those as well.\n\n{_codecs(results['learned'])}\n\n"
        f"{_independent(results['independent'])}"
    )


def _independent(rows: Sequence[Mapping[str, Any]]) -> str:
    """The most over Shannon on independent bits."""
    most: dict[str, float] = {}
    for row in rows:
        size = row["name"].partition(",")[0]
        most[size] = max(most.get(size, 0.0), row["chosen"]["over_shannon_percent"])
    densities = [row["density"] for row in rows]
    told = ", ".join(f"{over:.2f} % at {size} weights" for size, over in most.items())
    return (
        f"Independent bits cannot go below their entropy; at densities from {min(densities):g} to {max(densities):g}"
        f" they take at most so much more: {told}."
    )


def _codecs(learned: Sequence[Mapping[str, Any]]) -> str:
    """What the format would lose on learned masks without each codec."""
    quick = ("zstd", "gap", "gap-inverted")
    saved = {codec: max((_saved(each, codec, ("raw", *quick)), each["name"]) for each in learned) for codec in quick}
    saved["context"] = max((_saved(each, "context", ("raw", *quick)), each["name"]) for each in learned)
    told = [f"{codec} {100 * share:.1f} % ({name})" for codec, (share, name) in saved.items()]
    return (
        "A codec is a burden on every reader and has to save at least 1 % of some learned mask. Beside the codecs that"
        f" are read as fast, each saves at most: {', '.join(told)}."
    )


def _saved(row: Mapping[str, Any], codec: str, others: Sequence[str]) -> float:
    sizes = {name: found["bytes"] for name, found in row["codecs"].items() if found is not None}
    if codec not in sizes:
        return 0.0
    return 1 - float(sizes[codec]) / min(size for name, size in sizes.items() if name in others and name != codec)


def _bits(size: float | None, weights: int) -> str:
    return "" if size is None else f"{8 * size / weights:.3f}"


def _file(net: Mapping[str, Any], strategy: str, store: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = next(
        each
        for each in net["files"]
        if (each["strategy"], each["store"], each["residual_dtype"]) == (strategy, store, "float16")
    )
    return found
