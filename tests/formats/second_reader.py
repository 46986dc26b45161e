"""A second reader of `.pemn` files, written from formats/SPEC.md alone: standard library and zstandard only.

file = load(data)                   # refuses by `RefusedError`
file.content_id()
state(file.manifest, file.streams, "float16")["stem.weight"].data
task(bundle, "first"), apply(base, patch)
"""

from __future__ import annotations

from second.container import File, load
from second.patches import apply, task
from second.tensors import Tensor, state
from second.text import RefusedError

__all__ = ["File", "RefusedError", "Tensor", "apply", "load", "state", "task"]
