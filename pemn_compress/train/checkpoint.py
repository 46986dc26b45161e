"""Files of training state that are whole, checked, and never run code."""

from __future__ import annotations

import hashlib
import io
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from pemn_formats.atomic import atomic_write
from pemn_formats.errors import PemnError

__all__ = ["KEPT", "load_state", "newest_checkpoint", "save_checkpoint", "save_state"]

KEPT = 2
"""How many generations of checkpoints stay on disk."""

_NAME = re.compile(r"checkpoint-(\d{6,})\.pt")
_DIGEST_BYTES = 32


def save_state(path: Path, state: dict[str, Any]) -> None:
    """Write tensors, numbers and strings with `torch.save`, then the SHA-256 of those bytes, as a whole or not at all.

    torch's own reader accepts flipped bits in a tensor, so the digest at the end is what finds them.
    """
    buffer = io.BytesIO()
    torch.save(state, buffer)
    content = buffer.getbuffer()
    with atomic_write(path, force=True) as file:
        file.write(content)
        file.write(hashlib.sha256(content).digest())


def load_state(path: Path) -> dict[str, Any]:
    """Read what `save_state` wrote, onto the CPU and without unpickling code.

    Raises:
        PemnError: the file is missing, truncated or changed.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise PemnError(f"{path} cannot be read: {error.strerror}") from None
    body, digest = content[:-_DIGEST_BYTES], content[-_DIGEST_BYTES:]
    if hashlib.sha256(body).digest() != digest:
        raise PemnError(f"{path} is damaged: its checksum does not fit its {len(content)} bytes")
    try:
        state = torch.load(io.BytesIO(body), map_location="cpu", weights_only=True)
    except (RuntimeError, pickle.UnpicklingError, EOFError) as error:
        raise PemnError(f"{path} is no checkpoint of this program: {str(error).splitlines()[0]}") from None
    if not isinstance(state, dict):
        raise PemnError(f"{path} is no checkpoint of this program: it holds a {type(state).__name__}")
    return state


def save_checkpoint(folder: Path, state: dict[str, Any], epoch: int) -> None:
    """Write the generation of a finished epoch, counted from 1, and drop all but the last `KEPT`."""
    save_state(folder / f"checkpoint-{epoch:06d}.pt", state)
    for path in _generations(folder)[KEPT:]:
        path.unlink(missing_ok=True)


def newest_checkpoint(folder: Path, note: Callable[[str], None]) -> dict[str, Any] | None:
    """The newest generation that is whole, or None if there is none at all; `note` hears of each one passed over.

    Raises:
        PemnError: there are checkpoints and every one is damaged.
    """
    generations = _generations(folder)
    for path in generations:
        try:
            return load_state(path)
        except PemnError as error:
            note(f"{error}; falling back to the generation before it")
    if generations:
        raise PemnError(f"every checkpoint in {folder} is damaged; train again with --force")
    return None


def _generations(folder: Path) -> list[Path]:
    found = [(int(match[1]), path) for path in folder.iterdir() if (match := _NAME.fullmatch(path.name))]
    return [path for _, path in sorted(found, reverse=True)]
