"""The nets that a run learns and starts from, and that they are still the same when it is resumed."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import nn

from pemn_compress.data import DataSpec
from pemn_compress.train.check_model import check_model
from pemn_compress.train.dense_source import find_source, fingerprint, load_source
from pemn_compress.train.dense_start import start_from_
from pemn_compress.train.run_config import RunConfig
from pemn_formats.errors import PemnError

__all__ = ["Sources", "with_paths"]

_ROLES = {"teacher": "teacher", "init_from": "dense start"}


class Sources:
    """The teacher and the dense start that a run's options name.

    Args:
        options: the run; its sources are absolute paths.
        spec: its images.
        expected: the fingerprints of an earlier start, which must be found again; empty at the first.

    Raises:
        PemnError: a net cannot be had, does not take the images, or is another one than expected.
    """

    def __init__(self, options: RunConfig, spec: DataSpec, expected: Mapping[str, str]) -> None:
        self._options, self._spec, self._expected = options, spec, expected
        self.fingerprints: dict[str, str] = {}
        self.teacher = self._load("teacher")

    def begin_(self, model: nn.Module) -> None:
        """Give a model the dense start, if there is one; raises `PemnError` when it does not fit."""
        dense = self._load("init_from")
        if dense is not None:
            try:
                start_from_(model, dense.state_dict())
            except PemnError as error:
                raise PemnError(f"{_ROLES['init_from']} {self._options.init_from}: {error}") from None

    def _load(self, name: str) -> nn.Module | None:
        place = getattr(self._options, name)
        if place is None:
            return None
        role = _ROLES[name]
        model = load_source(Path(place), self._options, self._spec.to_input(), role)
        try:
            check_model(model, self._spec, torch.device("cpu"))
        except PemnError as error:
            raise PemnError(f"{role} {place}: {error}") from None
        found = self.fingerprints[name] = fingerprint(model)
        if self._expected.get(name, found) != found:
            raise PemnError(f"{role} {place} has not the weights it had when the run was started")
        return model


def with_paths(options: RunConfig, runs: str | os.PathLike[str]) -> RunConfig:
    """The options with absolute paths for the nets they name, by path or by the name of a run in `runs`.

    Raises:
        PemnError: one of them is not there.
    """
    places = {name: getattr(options, name) for name in _ROLES}
    found = {name: str(find_source(place, runs, _ROLES[name])) for name, place in places.items() if place is not None}
    return dataclasses.replace(options, **found)  # type: ignore[arg-type]
