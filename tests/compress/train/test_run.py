from __future__ import annotations

import json
import os
import shutil
import subprocess
from contextlib import ExitStack
from pathlib import Path

import pytest
import torch

from pemn_compress.train.environment import changed_versions, git_state, versions
from pemn_compress.train.reserve import reserved
from pemn_compress.train.run import RunFolder, find_run, newest_run
from pemn_compress.train.run_config import RunConfig
from pemn_formats.errors import PemnError

CONFIG = {"options": RunConfig().to_dict(), "input": {"data": "digits"}}


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return created(tmp_path, "a")


def created(runs: Path, name: str, *, force: bool = False) -> RunFolder:
    with reserved(runs, name, "stem", force=force) as folder:
        return RunFolder.create(folder, CONFIG)


def refuse(runs: Path, name: str | None, message: str, *, force: bool = False) -> None:
    with pytest.raises(PemnError, match=message), reserved(runs, name, "stem", force=force):
        pytest.fail("the folder was handed out")


def test_names_are_made_unique(tmp_path: Path) -> None:
    with ExitStack() as held:
        folders = [held.enter_context(reserved(tmp_path / "runs", None, "stem")) for _ in range(3)]
        assert [folder.name for folder in folders] == ["stem", "stem-2", "stem-3"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["a", None])
def test_a_folder_in_which_no_run_began_is_gone(tmp_path: Path, name: str | None) -> None:
    with reserved(tmp_path, name, "stem") as folder:
        assert list(folder.iterdir()) == []
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(KeyboardInterrupt), reserved(tmp_path, name, "stem"):
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_start_left_is_taken_over(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    assert created(tmp_path, "a").path == tmp_path / "a"


def test_a_run_that_exists_is_replaced_only_by_force(run: RunFolder) -> None:
    (run.path / "metrics.jsonl").write_text("old\n")
    (run.path / "notes.txt").write_text("mine\n")
    refuse(run.path.parent, "a", r"the run .*a exists; go on with --resume .*a, or drop it with --force")
    with pytest.raises(KeyboardInterrupt), reserved(run.path.parent, "a", "stem", force=True):
        raise KeyboardInterrupt
    assert (run.path / "metrics.jsonl").read_text() == "old\n"
    created(run.path.parent, "a", force=True)
    assert sorted(path.name for path in run.path.iterdir()) == ["config.json", "notes.txt"]


@pytest.mark.parametrize("force", [False, True])
def test_what_is_no_run_is_never_replaced(tmp_path: Path, force: bool) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "me.jpg").touch()
    (tmp_path / "file").touch()
    refuse(tmp_path, "photos", r"photos exists and is no training run; choose another --run", force=force)
    refuse(tmp_path, "file", r"file exists and is no folder; choose another --run", force=force)
    assert (tmp_path / "photos" / "me.jpg").exists()


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "/a"])
def test_a_name_is_a_plain_name(tmp_path: Path, name: str) -> None:
    refuse(tmp_path, name, "is not a plain folder name")


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for runs in (tmp_path / "file" / "runs", tmp_path / "file"):
        refuse(runs, None, r"the run folder .*file.* cannot be written")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_write_permission_is_named(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir(mode=0o500)
    refuse(tmp_path / "runs", None, r"the run folder .*runs.* cannot be written: Permission denied")


def test_config_result_and_metrics_come_back(run: RunFolder) -> None:
    assert run.result is None
    run.write_result({"test": 1})
    for epoch in (1, 2, 3):
        run.add_metrics({"epoch": epoch})
    again = RunFolder.open(run.path)
    assert again.options == RunConfig()
    assert again.input == {"data": "digits"}
    assert again.result == {"test": 1}
    assert [record["epoch"] for record in again.metrics()] == [1, 2, 3]


def test_resuming_drops_later_records_and_what_was_cut_short(run: RunFolder) -> None:
    for epoch in (1, 2, 3):
        run.add_metrics({"epoch": epoch})
    with (run.path / "metrics.jsonl").open("a") as file:
        file.write('{"epoch": 4, "lo')
    (run.path / ".checkpoint-000004.pt.ab12.tmp").touch()
    run.keep(2)
    assert (run.path / "metrics.jsonl").read_text() == '{"epoch": 1}\n{"epoch": 2}\n'
    assert sorted(path.name for path in run.path.iterdir()) == ["config.json", "metrics.jsonl"]


def test_the_newest_run_has_the_newest_weights(tmp_path: Path) -> None:
    with pytest.raises(PemnError, match=r"no trained run under .*; train one with: pemn-compress train"):
        newest_run(tmp_path)
    for number, name in enumerate(("b", "a", "c")):
        run = created(tmp_path, name)
        if name != "c":
            run.save_best({"model": {}})
            os.utime(run.path / "best.pt", (number, number))
    assert newest_run(tmp_path).path.name == "a"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "config.json is damaged: Expecting"),
        ("{}", "config.json is damaged: 'options'"),
        ('{"options": {"data": "x"}}', "these are no options of a run: found data"),
    ],
)
def test_a_damaged_config_is_named(run: RunFolder, content: str, message: str) -> None:
    (run.path / "config.json").write_text(content)
    with pytest.raises(PemnError, match=message):
        RunFolder.open(run.path)


def test_what_is_no_run_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for name, why in (("nowhere", "no such folder"), ("file", "it is a file"), (".", "it has no config.json")):
        with pytest.raises(PemnError, match=rf"is no training run: {why}$"):
            RunFolder.open(tmp_path / name)
    (tmp_path / "killed").mkdir()
    with pytest.raises(PemnError, match="it is empty, as if killed before training began; start it again"):
        RunFolder.open(tmp_path / "killed")


def test_a_run_is_found_by_its_name_or_its_folder(
    run: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    runs, name = run.path.parent, run.path.name
    assert find_run(name, runs).path == runs / name
    assert find_run(str(run.path), "elsewhere").path == run.path
    Path(name).mkdir()  # a folder of that name that is no run
    assert find_run(name, runs).path == runs / name
    with pytest.raises(PemnError, match=r"^run nobody is not there: no such folder here, and no such run in runs$"):
        find_run("nobody")


def test_weights_that_do_not_fit_are_named(run: RunFolder) -> None:
    with pytest.raises(PemnError, match=r"has no finished epoch; go on with: pemn-compress train --resume"):
        run.load_best(torch.nn.Linear(2, 2))
    run.save_best({"model": torch.nn.Linear(3, 2).state_dict()})
    with pytest.raises(PemnError, match=r"best.pt does not fit the model of the run: .*size mismatch"):
        run.load_best(torch.nn.Linear(2, 2))


def test_versions_that_changed_are_named() -> None:
    assert changed_versions(versions()) == []
    assert changed_versions({**versions(), "torch": "1.0"}) == [f"torch 1.0 (now {torch.__version__})"]
    json.dumps(versions())


def test_no_repository_has_no_git_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert git_state(tmp_path) is None


@pytest.mark.skipif(shutil.which("git") is None, reason="no git")
def test_what_may_differ_makes_no_tree_dirty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def git(*arguments: str) -> None:
        who = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false")
        subprocess.run(["git", "-C", str(tmp_path), *who, *arguments], check=True, capture_output=True)

    for name in ("code.py", "part/code.py", "part/results/a.json"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("1")
    git("init")
    git("add", ".")
    git("commit", "-m", "first")
    (tmp_path / "part/results/a.json").write_text("2")
    found = [git_state(tmp_path / "part", leave_out=name) for name in (None, "results")]
    assert [state and state["dirty"] for state in found] == [True, False]
    (tmp_path / "code.py").write_text("2")
    state = git_state(tmp_path / "part", leave_out="results")
    assert state
    assert state["dirty"]
