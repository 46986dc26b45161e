from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from pemn_cli.commands.train import command
from pemn_cli.train_options import RECIPE
from pemn_compress import config as mask_config
from pemn_compress.learners import LEARNERS
from pemn_compress.residual import RESIDUAL_DTYPES
from pemn_compress.train import config as train_config
from pemn_compress.train.checkpoint import load_state
from pemn_compress.train.run_config import RunConfig

SMALL = ("--model-arg", "hidden=16", "--depth", "1", "--limit-train", "200", "--epochs", "2", "--batch-size", "32")


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    return tmp_path / "runs"


def start(*arguments: object) -> subprocess.Popen[str]:
    """The command in a process of its own, with one thread."""
    line = [sys.executable, "-m", "pemn_cli", "train", *map(str, arguments)]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    # A shell without job control starts what it puts into the background deaf to Ctrl-C, and so are its children.
    hearing = partial(signal.signal, signal.SIGINT, signal.default_int_handler)
    return subprocess.Popen(line, env={**os.environ, "OMP_NUM_THREADS": "1"}, preexec_fn=hearing, **pipes)


def wait_for_epoch(process: subprocess.Popen[str], run: Path, epoch: int) -> None:
    for _ in range(6000):
        if len(list(run.glob(f"checkpoint-{epoch:06d}.pt"))) or process.poll() is not None:
            return
        time.sleep(0.01)


def test_a_run_prints_its_result_alone(run: Any, runs: Path) -> None:
    done = run("train", *SMALL, "--runs-dir", runs)
    folder = runs / "digits-mlp-rp-0"
    assert done.code == 0, done.err
    lines = dict(line.split(maxsplit=1) for line in done.out.splitlines())
    assert lines["run"] == str(folder)
    assert lines["next"] == f"pemn-compress export model.pemn --run {folder}"
    assert "chosen on validation images" in lines["best"]
    assert "epoch 1/2  loss" in done.err
    assert "epoch 2/2  loss" in done.err
    assert "\x1b" not in done.out + done.err
    kept = {"config.json", "metrics.jsonl", "best.pt", "result.json", "checkpoint-000001.pt", "checkpoint-000002.pt"}
    assert {path.name for path in folder.iterdir()} == kept


def test_commands_to_type_next_are_quoted(run: Any, tmp_path: Path) -> None:
    runs = tmp_path / "my runs"
    done = run("train", *SMALL, "--runs-dir", runs, "--run", "it's")
    (line,) = (line for line in done.out.splitlines() if line.startswith("next"))
    assert shlex.split(line)[1:] == ["pemn-compress", "export", "model.pemn", "--run", str(runs / "it's")]
    again = run("train", *SMALL, "--runs-dir", runs, "--run", "it's").err.rpartition("go on with ")[2]
    assert shlex.split(again.partition(",")[0]) == ["--resume", str(runs / "it's")]


def test_json_and_a_dense_baseline(run: Any, runs: Path) -> None:
    done = run("train", *SMALL, "--regular", "--run", "dense", "--runs-dir", runs, "--json")
    found = json.loads(done.out)
    assert (found["run"], found["masked"], found["density"]) == (str(runs / "dense"), False, None)
    assert found["test"]["count"] == 359
    again = run("train", "--resume", "dense", "--runs-dir", runs, "--json")
    assert again.code == 0
    assert json.loads(again.out) == found
    assert "is finished already" in again.err


def test_options_reach_the_run(run: Any, runs: Path) -> None:
    options = (
        "--strategy",
        "mp",
        "--learner",
        "topk",
        "--density",
        0.25,
        "--randaugment",
        1,
        5,
        "--no-flip",
        "--seed",
        3,
    )
    done = run("train", *SMALL, *options, "--run", "a", "--runs-dir", runs, "--model-arg", "norm=false", "--epochs", 1)
    assert done.code == 0, done.err
    found = RunConfig.from_dict(json.loads((runs / "a" / "config.json").read_text())["options"])
    assert found.mask is not None
    assert (found.mask.strategy, found.mask.learner, found.mask.density, found.mask.seed) == ("mp", "topk", 0.25, 3)
    assert (found.train.randaugment_n, found.train.randaugment_m, found.train.seed) == (1, 5, 3)
    assert found.model_args == {"hidden": 16, "depth": 1, "norm": False}


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--ratio", "0"], 2, "ratio must be greater than 0 and at most 1, found 0.0"),
        (["--density", "1.5"], 2, "density must lie between 0 and 1, both excluded, found 1.5"),
        (["--model", "convmixr"], 1, "unknown model 'convmixr' (did you mean 'convmixer'?)"),
        (["--model-arg", "classes=7"], 1, "model mlp: classes is 7, but data digits has 10; leave the argument out"),
        (["--model", "torchvision.resnet18", "--model-arg", "num_classes=7"], 1, "model does not take 1x8x8 images"),
        (["--model", "nowhere:net"], 1, "no module 'nowhere'"),
        (["--data", "didgits"], 1, "unknown data 'didgits'"),
        (["--preset", "papre"], 2, "unknown preset 'papre' (did you mean 'paper'?)"),
        (["--regular", "--density", "0.5"], 2, "density is an option of masks, and a regular run has none"),
        (["--epochs", "0"], 2, "epochs must be a whole number of at least 1, found 0"),
        (["--run", "a/b"], 1, "run name 'a/b'"),
        (["--resume", "nowhere"], 1, "run nowhere is not there: no such folder here, and no such run in "),
        (["--model-arg", "dim"], 2, "--model-arg takes KEY=VALUE, found 'dim'."),
        (["--strategy", "magic"], 2, "'magic' is not one of"),
        (["--resume", "a", "--run", "b"], 2, "leave --run out"),
    ],
)
def test_what_cannot_be_gives_one_line_and_a_code(
    run: Any, runs: Path, arguments: list[str], code: int, message: str
) -> None:
    done = run("train", "--runs-dir", runs, *arguments)
    assert message in done.err
    assert (done.code, done.out) == (code, "")
    assert len([line for line in done.err.splitlines() if line.startswith("error: ")]) == 1
    assert not list(runs.glob("*"))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_no_cuda_device_is_one_line(run: Any, runs: Path) -> None:
    done = run("train", "--device", "cuda", "--runs-dir", runs)
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith("error: device cuda was asked for, but torch sees no CUDA device here")


def test_a_folder_that_cannot_be_written_is_found_before_the_data(run: Any, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = run("train", "--data", "folder:nowhere", "--runs-dir", tmp_path / "file")
    assert done.code == 1
    assert "cannot be written" in done.err
    assert "nowhere" not in done.err


def test_a_run_that_exists_is_not_overwritten(run: Any, runs: Path) -> None:
    assert run("train", *SMALL, "--run", "a", "--runs-dir", runs).code == 0
    before = (runs / "a" / "best.pt").read_bytes()
    done = run("train", *SMALL, "--run", "a", "--runs-dir", runs, "--seed", 1)
    assert done.code == 1
    assert f"go on with --resume {runs / 'a'}, or drop it with --force" in done.err
    assert (runs / "a" / "best.pt").read_bytes() == before
    assert run("train", *SMALL, "--run", "a", "--runs-dir", runs, "--seed", 1, "--force").code == 0
    assert (runs / "a" / "best.pt").read_bytes() != before


def test_resuming_with_other_options_is_refused(run: Any, runs: Path) -> None:
    assert run("train", *SMALL, "--run", "a", "--runs-dir", runs).code == 0
    (runs / "a" / "result.json").unlink()
    resume = ("train", "--resume", runs / "a")
    done = run(*resume, "--lr", 0.5)
    assert done.code == 1
    assert "was started with lr 0.02, found --lr 0.5; leave it out or start another run" in done.err
    assert "found --model-args" in run(*resume, "--depth", 2).err
    assert "leave --preset out" in run(*resume, "--preset", "paper").err
    assert run(*resume, "--lr", 0.02, "--depth", 1, "--workers", 0, "--device", "cpu").code == 0
    assert (runs / "a" / "result.json").is_file()


def test_workers_may_change_when_resuming_only_where_they_draw_the_same(run: Any, runs: Path) -> None:
    assert run("train", *SMALL, "--erasing", 0.5, "--run", "a", "--runs-dir", runs).code == 0
    (runs / "a" / "result.json").unlink()
    done = run("train", "--resume", runs / "a", "--workers", 0)
    assert done.code == 1
    assert "was started without --workers, and workers draw other random numbers" in done.err
    assert run("train", *SMALL, "--erasing", 0.5, "--workers", 1, "--run", "b", "--runs-dir", runs).code == 0
    (runs / "b" / "result.json").unlink()
    assert run("train", "--resume", runs / "b", "--workers", 0).code == 0


def test_a_killed_run_resumes_to_the_same_masks(run: Any, runs: Path) -> None:
    options = ("--model-arg", "hidden=16", "--epochs", 40, "--shift", 1, "--runs-dir", runs)
    process = start(*options, "--run", "cut")
    wait_for_epoch(process, runs / "cut", 3)
    for other in (("--resume", runs / "cut"), (*options, "--run", "cut", "--force")):
        beside = run("train", *other)
        assert beside.code == 1
        assert beside.err.splitlines()[-1].startswith(
            f"error: the run {runs / 'cut'} is being started or trained by another process; wait"
        )
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert not (runs / "cut" / "checkpoint-000040.pt").exists()
    resumed = run("train", "--resume", runs / "cut")
    assert resumed.code == 0, resumed.err
    assert "epoch 1/40" not in resumed.err
    assert run("train", *options, "--run", "whole").code == 0
    for name in ("best.pt", "checkpoint-000040.pt"):
        left, right = (load_state(runs / folder / name)["model"] for folder in ("whole", "cut"))
        assert left.keys() == right.keys()
        assert all(value.equal(right[key]) for key, value in left.items())


def test_ctrl_c_says_how_to_resume(runs: Path) -> None:
    process = start("--epochs", 10_000, "--run", "long", "--runs-dir", runs)
    wait_for_epoch(process, runs / "long", 1)
    process.send_signal(signal.SIGINT)
    out, errors = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, "")
    last = errors.splitlines()[-1]
    assert "interrupted" in last
    assert last.endswith(f"resume with: pemn-compress train --resume {runs / 'long'}")
    assert "Traceback" not in errors


def test_ctrl_c_in_a_trial_leaves_nothing(runs: Path) -> None:
    process = start("--budget", "4KB", "--epochs", 100_000, "--run", "long", "--runs-dir", runs)
    assert process.stderr is not None
    seen = [process.stderr.readline() for _ in range(2)]
    assert seen[0].startswith("trying mlp with 10 % of the steps")
    assert seen[1].startswith("trial epoch 1/10000  loss")
    process.send_signal(signal.SIGINT)
    out, errors = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, "")
    assert errors.splitlines()[-1] == "error: interrupted: no run was begun, and nothing is kept"
    assert not runs.exists()


def test_choices_are_those_of_the_library() -> None:
    choices = {option.name: tuple(option.type.choices) for option in command.params if hasattr(option.type, "choices")}
    assert choices == {
        "select_on": train_config.SELECT_ON,
        "residual_dtype": RESIDUAL_DTYPES,
        "strategy": mask_config.STRATEGIES,
        "mode": mask_config.MODES,
        "distribution": mask_config.DISTRIBUTIONS,
        "scale": mask_config.SCALES,
        "alphabet": mask_config.ALPHABETS,
        "learner": tuple(LEARNERS),
        "store": mask_config.STORES,
        "schedule": train_config.SCHEDULES,
        "amp": train_config.AMP,
    }


def test_every_option_of_a_run_is_on_the_command_line() -> None:
    known = set(RunConfig().to_options()) | {"regular"}
    shortcuts = {"model_arg", "dim", "depth", "kernel", "patch", "width", "preset", "randaugment"}
    assert set(RECIPE) - shortcuts == known - {"model_args", "randaugment_n", "randaugment_m"}


def test_help_has_sections_and_an_example(run: Any) -> None:
    done = run("train", "--help")
    assert done.code == 0
    for section in ("Data:", "Model:", "Masks:", "Recipe:", "Augmentation:", "Machine:", "Run:"):
        assert f"\n{section}\n" in done.out
    assert "pemn-compress train --preset paper" in done.out
