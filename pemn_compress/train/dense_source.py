"""Find the net that a run learns or starts from: another run, a file, or a checkpoint of its dense twin."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from pemn_compress.loading import load_model
from pemn_compress.masking import merge_
from pemn_compress.train.building import build_model
from pemn_compress.train.run import CONFIG, RunFolder
from pemn_compress.train.run_config import RunConfig
from pemn_formats.errors import PemnError
from pemn_formats.reader import Reader

__all__ = ["find_source", "fingerprint", "load_source"]

_PICKLED = (".pt", ".pth", ".ckpt")
_UNREADABLE = (pickle.UnpicklingError, RuntimeError, EOFError, LookupError, ValueError, TypeError, AttributeError)
_WRAPPED = ("model", "state_dict")


def find_source(name: str, runs: str | os.PathLike[str], role: str) -> Path:
    """The absolute path of a run, by path or by name within `runs`, or of a file.

    Raises:
        PemnError: there is neither; the message names the `role`, such as `teacher`.
    """
    for path in (Path(name).expanduser(), Path(runs) / name):
        if path.exists():
            return path.resolve()
    raise PemnError(f"{role} {name} is not there: no such run or file here, and no such run in {runs}")


def load_source(path: Path, options: RunConfig, described: Mapping[str, Any], role: str) -> nn.Module:
    """The plain model at `path` on the CPU: a run's best weights, a `.pemn` file, or a state dict.

    Args:
        path: a run folder, a `.pemn` file of a registered architecture, or the state dict of the dense twin of the
            model that `options` name, as `.safetensors` or as torch's `.pt` (also under `model` or `state_dict`).
        options: the run that asks.
        described: what its network takes, as `DataSpec.to_input` gives it.
        role: what the net is asked for; every message names it.

    Raises:
        PemnError: it cannot be read, or was trained on images of another mean, deviation, size or number of classes.
    """
    try:
        if path.is_dir():
            return _of_run(path, described)
        if path.suffix == ".pemn":
            return _of_file(path)
        model = build_model(dataclasses.replace(options, mask=None), described)
        _fill(model, _state(path))
    except OSError as error:
        raise PemnError(f"{role} {path} cannot be read: {error.strerror}") from None
    except PemnError as error:
        where = role if str(path) in str(error) else f"{role} {path}"
        raise type(error)(f"{where}: {error}") from None
    return model


def _of_file(path: Path) -> nn.Module:
    with Reader.open(path) as reader:
        if reader.manifest.tasks:
            raise PemnError(f"it is a bundle of {len(reader.manifest.tasks)} models; give a file of one")
    return load_model(path)


def fingerprint(model: nn.Module) -> str:
    """The SHA-256 of a model's names and weights."""
    digest = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()


def _of_run(path: Path, described: Mapping[str, Any]) -> nn.Module:
    if not (path / CONFIG).is_file():
        raise PemnError(f"a folder without {CONFIG} is no run")
    run = RunFolder.open(path)
    for key in ("size", "channels", "classes", "mean", "std"):
        if run.input[key] != described[key]:
            raise PemnError(f"it was trained for images with {key} {run.input[key]}, this run's have {described[key]}")
    return merge_(run.build_model())


def _state(path: Path) -> dict[str, Any]:
    if path.suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return load_file(path)
        except SafetensorError as error:
            raise PemnError(f"it is no safetensors file: {error}") from None
    if path.suffix not in _PICKLED:
        raise PemnError(f"expected a run folder, .pemn, .safetensors or {', '.join(_PICKLED)}")
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except _UNREADABLE as error:
        detail = str(error).partition("\n")[0]
        raise PemnError(f"it is no state dict of torch ({type(error).__name__}: {detail})") from None
    for key in _WRAPPED:
        if isinstance(found, dict) and isinstance(found.get(key), dict):
            found = found[key]
    if not isinstance(found, dict) or not all(isinstance(value, torch.Tensor) for value in found.values()):
        raise PemnError("it holds no state dict: expected tensors by name")
    return found


def _fill(model: nn.Module, state: Mapping[str, Any]) -> None:
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        detail = " ".join(str(error).split())
        raise PemnError(f"it does not fit the dense twin of this run's model: {detail[:300]}") from None
