"""The README's regions about the parts of files: what is not masked, updates and bundles."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.markdown import byte_count, table, where

__all__ = ["delta_size", "residual_dtypes"]

_SHOWN = ("float16", "log8", "lossless")


def residual_dtypes(results: Mapping[str, Any]) -> str:
    """What rounding the rest of a net costs and saves."""
    found: dict[str, dict[str, Mapping[str, Any]]] = {}
    for row in results["summary"]:
        found.setdefault(row["net"], {})[row["residual"]] = row
    rows = [
        (
            net,
            *(byte_count(each[name]["file_bytes"]) for name in _SHOWN),
            *(
                f"{each[name]['accuracy_change'] + 0.0:.1f} ({each[name]['worst_accuracy_change'] + 0.0:.1f})"
                for name in _SHOWN[:2]
            ),
        )
        for net, each in found.items()
    ]
    header = ("net", *(f"file, {name}" for name in _SHOWN), *(f"{name}, points" for name in _SHOWN[:2]))
    return (
        "What rounding the rest saves, and what it costs in points of accuracy on validation images (mean, and worst of"
        f" {results['summary'][0]['seeds']} seeds), small nets on the digits ({where(results)};"
        f" `{results['command']}`); lossless, nothing changes:\n\n{table(header, rows)}"
    )


def delta_size(results: Mapping[str, Any]) -> str:
    """Updates between checkpoints, and two tasks in one file."""
    rows = [
        (
            f"{run['run']}, epoch {row['epochs'][0]} to {row['epochs'][1]}",
            f"{row['mask_changed']:,} of {row['mask_weights']:,}",
            byte_count(row["new_bytes"]),
            byte_count(row["patch_bytes"]),
            byte_count(row["zstd_patch_from_bytes"]),
        )
        for run in results["runs"]
        for row in (run["patches"][0], run["patches"][-1])
    ]
    header = ("run", "codes changed", "later file", "update", "`zstd --patch-from`")
    bundles = "; ".join(
        f"values {each['values']}, {byte_count(sum(each['file_bytes'].values()))} in two files and"
        f" {byte_count(each['bundle_bytes'])} in one"
        for each in results["bundles"]
    )
    return (
        f"Updates from one checkpoint to a later one (`pemn-compress delta`), on the digits"
        f" (`python -m benchmarks.delta_size`):\n\n{table(header, rows)}\n\nBundles of two such nets, trained on the"
        f" digits and on their mirror images too (`pemn-compress bundle`): {bundles}. Masks are not shared."
    )
