"""The folder of a training run: what was asked, what happened, and the weights."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import nn

from pemn_compress.train.checkpoint import load_state, newest_checkpoint, save_checkpoint, save_state
from pemn_compress.train.run_config import RunConfig
from pemn_formats.atomic import atomic_write
from pemn_formats.errors import PemnError

__all__ = ["CONFIG", "RUNS", "RunFolder", "find_run", "newest_run"]

RUNS = "runs"
"""Where runs go unless told otherwise."""

CONFIG = "config.json"
"""The file that makes a folder a run."""

_METRICS, _BEST, _RESULT = "metrics.jsonl", "best.pt", "result.json"
_OURS = re.compile(r"config\.json|metrics\.jsonl|best\.pt|result\.json|checkpoint-\d+\.pt|events\.out\.tfevents\..+")
_HALF_DONE = re.compile(rf"\.({_OURS.pattern})\..+\.tmp")


class RunFolder:
    """One training run on disk.

    `config.json` holds every option, the input and the versions; `metrics.jsonl` one object an epoch;
    `checkpoint-NNNNNN.pt` the state after an epoch, the last two kept; `best.pt` the weights of the best epoch;
    `result.json` the outcome. Make one with `create` or `open`.
    """

    def __init__(self, path: Path, config: dict[str, Any]) -> None:
        self.path = path
        self.config = config

    @property
    def quoted(self) -> str:
        """The path as a person types it in a shell."""
        return shlex.quote(str(self.path))

    @classmethod
    def create(cls, path: str | os.PathLike[str], config: Mapping[str, Any]) -> RunFolder:
        """Turn a folder, which the caller holds (`reserved`), into a run by writing its `config.json`.

        An older run in it is dropped.
        """
        run = cls(Path(path), dict(config))
        for old in run.path.iterdir():
            if _OURS.fullmatch(old.name) or _HALF_DONE.fullmatch(old.name):
                old.unlink()
        run._write_json(CONFIG, run.config)
        return run

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> RunFolder:
        """Open a run that exists; raises `PemnError` when the folder is missing or is no run."""
        folder = Path(path)
        try:
            config = json.loads((folder / CONFIG).read_text())
            RunConfig.from_dict(config["options"])
        except (FileNotFoundError, NotADirectoryError):
            why = (
                "no such folder"
                if not folder.exists()
                else "it is a file"
                if not folder.is_dir()
                else f"it has no {CONFIG}"
                if any(folder.iterdir())
                else "it is empty, as if killed before training began; start it again"
            )
            raise PemnError(f"{folder} is no training run: {why}") from None
        except OSError as error:
            raise PemnError(f"{folder} cannot be read: {error.strerror}") from None
        except (ValueError, TypeError, KeyError) as error:
            raise PemnError(f"{folder / CONFIG} is damaged: {error}") from None
        return cls(folder, config)

    @property
    def options(self) -> RunConfig:
        """Every option of the run."""
        return RunConfig.from_dict(self.config["options"])

    @property
    def input(self) -> dict[str, Any]:
        """What the network takes, as `DataSpec.to_input` gives it."""
        described: dict[str, Any] = self.config["input"]
        return described

    @property
    def result(self) -> dict[str, Any] | None:
        """The outcome, or None while the run is unfinished."""
        try:
            found: dict[str, Any] = json.loads((self.path / _RESULT).read_text())
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise PemnError(f"{self.path / _RESULT} is damaged: {error}") from None
        return found

    def write_result(self, result: Mapping[str, Any]) -> None:
        """Mark the run as finished."""
        self._write_json(_RESULT, result)

    def metrics(self) -> list[dict[str, Any]]:
        """The records of the finished epochs; a line that a kill cut short is left out."""
        records: list[dict[str, Any]] = []
        with contextlib.suppress(FileNotFoundError):
            for line in (self.path / _METRICS).read_text().splitlines():
                try:
                    records.append(json.loads(line))
                except ValueError:
                    break
        return records

    def add_metrics(self, record: Mapping[str, Any]) -> None:
        """Append one epoch's record."""
        try:
            with (self.path / _METRICS).open("a") as file:
                file.write(json.dumps(record) + "\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise PemnError(f"{self.path / _METRICS} could not be written: {error.strerror}") from None

    def keep(self, epochs: int, best: dict[str, Any] | None = None) -> None:
        """Go back to the state after epoch `epochs`, with the `best` weights that its checkpoint names.

        Later records, which a resumed run writes again, and files that a kill cut short are dropped.
        """
        if best is not None:
            self.save_best(best)
        for path in self.path.iterdir():
            if _HALF_DONE.fullmatch(path.name):
                path.unlink(missing_ok=True)
        kept = [record for record in self.metrics() if record.get("epoch", 0) <= epochs]
        with atomic_write(self.path / _METRICS, force=True) as file:
            file.write("".join(json.dumps(record) + "\n" for record in kept).encode())

    def save_checkpoint(self, state: dict[str, Any], epoch: int) -> None:
        """Write the state after epoch `epoch`, counted from 1."""
        save_checkpoint(self.path, state, epoch)

    def newest_checkpoint(self, note: Callable[[str], None]) -> dict[str, Any] | None:
        """The newest whole checkpoint, or None; `note` hears of damaged ones."""
        return newest_checkpoint(self.path, note)

    def has_checkpoint(self) -> bool:
        """Whether any checkpoint, whole or not, is there."""
        return any(self.path.glob("checkpoint-*.pt"))

    def save_best(self, state: dict[str, Any]) -> None:
        """Write the weights of the best epoch so far."""
        save_state(self.path / _BEST, state)

    def has_best(self) -> bool:
        """Whether at least one epoch is finished."""
        return (self.path / _BEST).is_file()

    def load_best(self, model: nn.Module) -> nn.Module:
        """Load the best epoch's weights into a model of this run and return it.

        Raises:
            PemnError: no epoch is finished, `best.pt` is damaged, or the model is another one.
        """
        if not self.has_best():
            raise PemnError(
                f"{self.path} has no finished epoch; go on with: pemn-compress train --resume {self.quoted}"
            )
        state = load_state(self.path / _BEST)["model"]
        try:
            model.load_state_dict(state)
        except RuntimeError as error:
            detail = " ".join(str(error).split())
            raise PemnError(f"{self.path / _BEST} does not fit the model of the run: {detail}") from None
        return model

    def build_model(self) -> nn.Module:
        """The run's model, masked unless the run was regular, with the weights of its best epoch, on the CPU.

        A model that the user named as `torchvision.NAME` or `package.module:factory` is built from that name again.
        """
        from pemn_compress.train.building import build_model

        return self.load_best(build_model(self.options, self.input))

    def _write_json(self, name: str, content: Mapping[str, Any]) -> None:
        with atomic_write(self.path / name, force=True) as file:
            file.write((json.dumps(content, indent=2, sort_keys=True) + "\n").encode())


def find_run(name: str, runs: str | os.PathLike[str] = RUNS) -> RunFolder:
    """The run called `name`: the folder of that path, else that of this name under `runs`.

    Raises:
        PemnError: it is neither.
    """
    here, there = Path(name).expanduser(), Path(runs) / name
    if not here.exists() and not there.exists():
        raise PemnError(f"run {name} is not there: no such folder here, and no such run in {runs}")
    return RunFolder.open(there if not (here / CONFIG).is_file() and there.exists() else here)


def newest_run(runs: str | os.PathLike[str] = RUNS) -> RunFolder:
    """The run under `runs` whose best weights are the newest; raises `PemnError` when there is none."""
    parent = Path(runs)
    found = [path.parent for path in parent.glob(f"*/{_BEST}") if (path.parent / CONFIG).is_file()]
    if not found:
        raise PemnError(f"no trained run under {parent}; train one with: pemn-compress train")
    return RunFolder.open(max(found, key=lambda path: (path / _BEST).stat().st_mtime_ns))
