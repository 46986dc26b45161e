"""The header of a safetensors file, and where each tensor goes: for writers that hold one tensor at a time.

The layout is that of https://github.com/huggingface/safetensors (README, "Format"): u64 length, JSON, values. Tensors
stand as that library sorts them, by falling width of their type and then by name, so that its files are the same.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from pemn_formats.dense import Dense
from pemn_formats.errors import PemnError

__all__ = ["layout"]

# In the order of the file.
_NAMES = {
    "int64": "I64", "float64": "F64", "float32": "F32", "int32": "I32", "bfloat16": "BF16", "float16": "F16",
    "int16": "I16", "int8": "I8", "uint8": "U8", "bool": "BOOL",
}  # fmt: skip
_ORDER = list(_NAMES)
_ALIGNMENT = 8
_METADATA = "__metadata__"


def layout(entries: Mapping[str, Dense], metadata: Mapping[str, str]) -> tuple[bytes, dict[str, int]]:
    """Return what stands before the values, and the place in the file of each tensor's first byte.

    Raises `PemnError` for the one name that no tensor can have there.
    """
    header: dict[str, object] = {_METADATA: dict(metadata)}
    if _METADATA in entries:
        raise PemnError(f"a tensor is named '{_METADATA}', which safetensors keeps for itself")
    at, starts = 0, {}
    for name in sorted(entries, key=lambda each: (_ORDER.index(entries[each].dtype), each)):
        entry, starts[name] = entries[name], at
        at += entry.nbytes
        header[name] = {
            "dtype": _NAMES[entry.dtype],
            "shape": list(entry.shape),
            "data_offsets": [starts[name], at],
        }
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _ALIGNMENT)
    begin = len(text) + 8
    return len(text).to_bytes(8, "little") + text, {name: begin + start for name, start in starts.items()}
