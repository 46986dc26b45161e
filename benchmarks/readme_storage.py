"""The README's regions on the size of files and masks."""

from __future__ import annotations

from collections.abc import Mapping
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
        " files load fast; `--effort smallest` codes those as well."
    )


def _bits(size: float | None, weights: int) -> str:
    return "" if size is None else f"{8 * size / weights:.3f}"


def _file(net: Mapping[str, Any], strategy: str, store: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = next(
        each
        for each in net["files"]
        if (each["strategy"], each["store"], each["residual_dtype"]) == (strategy, store, "float16")
    )
    return found
