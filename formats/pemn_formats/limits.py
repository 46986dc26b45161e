"""What a reader accepts at most. Every bound is checked before anything of that size is allocated."""

from __future__ import annotations

__all__ = [
    "CHUNK_BYTES",
    "DEFAULT_MEMORY_BUDGET",
    "MAX_CHUNKS",
    "MAX_DIMS",
    "MAX_DRAWN_TIMES",
    "MAX_DRAWN_VALUES",
    "MAX_EXTRA_DEPTH",
    "MAX_MANIFEST_BYTES",
    "MAX_MANIFEST_ITEMS",
    "MAX_NAME_BYTES",
    "MAX_TENSORS",
    "MAX_TENSOR_VALUES",
]

CHUNK_BYTES = 1 << 19  # 2^22 mask bits
MAX_MANIFEST_BYTES = 16 << 20
MAX_MANIFEST_ITEMS = 1 << 20  # JSON values, each of which takes many times its bytes once parsed
MAX_CHUNKS = 1 << 20
MAX_TENSORS = 65_536
MAX_DIMS = 8
MAX_NAME_BYTES = 255
MAX_TENSOR_VALUES = 1 << 40
MAX_EXTRA_DEPTH = 16
# A tensor with a span takes the time of its whole prototype, even if it has a single weight. So many values in all, or
# so many times the weights, whichever is more.
MAX_DRAWN_VALUES = 1 << 34
MAX_DRAWN_TIMES = 64
# Decoded streams (packed masks, residual, explicit prototypes), not the dense weights: those the caller sizes up.
DEFAULT_MEMORY_BUDGET = 4 << 30
