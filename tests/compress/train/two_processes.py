"""What two processes do together, run under `torchrun`: each writes what it found to OUT/RANK.json."""

from __future__ import annotations

import hashlib
import json
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from recorder import Recorder
from torch import Tensor, nn
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook

from pemn_compress.config import MaskConfig
from pemn_compress.data import Splits, load_data
from pemn_compress.masking import mask_, masked_weights
from pemn_compress.train import distributed
from pemn_compress.train.building import build_model
from pemn_compress.train.config import TrainConfig
from pemn_compress.train.evaluate import evaluate
from pemn_compress.train.job import Job, resume, start
from pemn_compress.train.loop import fit
from pemn_compress.train.run import RunFolder
from pemn_compress.train.run_config import RunConfig
from pemn_formats.errors import PemnError

SEEDS = 3
CUT = 40  # a step of the second of the three epochs of `noise_config`


def noise_config(seed: int) -> RunConfig:
    """The runs whose accuracy is compared with that of one process."""
    return RunConfig(
        model_args={"hidden": 32, "depth": 1},
        mask=MaskConfig(strategy="rp", seed=seed),
        train=TrainConfig(epochs=3, batch_size=64, lr=0.02, seed=seed, threads=1),
    )


def digest(model: nn.Module) -> str:
    """The SHA-256 of all parameters and of what the masks choose."""
    found = hashlib.sha256()
    for value in model.parameters():
        found.update(value.detach().numpy().tobytes())
    for _, weight, score in masked_weights(model):
        found.update(weight.code(score.detach()).numpy().tobytes())
    return found.hexdigest()


def digits(count: int) -> Splits:
    splits = load_data("digits", validation=0.1, seed=0)
    return Splits(splits.spec, splits.train.subset(torch.arange(count)), splits.validation, splits.test)


def small(**options: Any) -> RunConfig:
    """Three epochs whose last batch has 3 images: too few for two processes."""
    train = TrainConfig(**{"epochs": 3, "batch_size": 32, "lr": 0.02, "threads": 1, "shift": 1, **options})
    return RunConfig(limit_train=195, model_args={"hidden": 16, "depth": 1}, mask=MaskConfig(), train=train)


def gradients(net: Callable[[], nn.Module]) -> float:
    """The largest difference between gradients of one process and of both together, for batches of any size."""
    here, worst = distributed.ranks(), 0.0
    for count in (2, 3, 4, 7, 8, 33):
        batch = torch.randn(count, 1, 8, 8, generator=torch.Generator().manual_seed(count))
        labels, mine = torch.arange(count) % 10, here.part(count)
        alone = net()
        nn.functional.cross_entropy(alone(batch), labels).backward()
        shared = distributed.replicate(net(), digits(10).spec)
        (nn.functional.cross_entropy(shared(batch[mine]), labels[mine]) * here.weight(count)).backward()
        for one, both in zip(alone.parameters(), shared.parameters(), strict=True):
            if one.grad is not None:
                assert both.grad is not None
                worst = max(worst, float((one.grad - both.grad).abs().max() / one.grad.abs().max()))
    return worst


def masked_net() -> nn.Module:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 10))
    return mask_(net, MaskConfig(scale="channel"))


def overlap() -> tuple[list[str], str]:
    """When gradients are sent in the third step of a net of several parts, and the digest after it."""
    torch.manual_seed(0)
    wide = (layer for _ in range(6) for layer in (nn.Linear(512, 512), nn.ReLU()))
    layers = nn.Sequential(nn.Flatten(), nn.Linear(64, 512), *wide, nn.Linear(512, 10))
    model = mask_(layers, MaskConfig(learner="topk"))
    shared = distributed.replicate(model, digits(10).spec)
    events: list[str] = []
    send = lambda _, bucket: (events.append("sent"), allreduce_hook(None, bucket))[1]  # noqa: E731
    shared.register_comm_hook(None, send)  # type: ignore[operator]
    layers[1].register_full_backward_pre_hook(lambda *_: events.append("first"))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    for step in range(3):
        events.clear()
        optimizer.zero_grad()
        generator = torch.Generator().manual_seed(2 * step + distributed.ranks().rank)
        shared(torch.randn(8, 1, 8, 8, generator=generator)).square().mean().backward()
        optimizer.step()
    return events, digest(model)


class HasUnused(nn.Module):
    """A net with a parameter that the loss never meets."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.used, self.unused = nn.Linear(64, 10), nn.Linear(3, 3)

    def forward(self, images: Tensor) -> Tensor:
        output: Tensor = self.used(images.flatten(1))
        return output


class Breaks(nn.Module):
    """A net whose third training step gives one process, and only that one, no numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.calls, self.fc = 0, nn.Linear(64, 10)

    def forward(self, images: Tensor) -> Tensor:
        self.calls += self.training
        output: Tensor = self.fc(images.flatten(1))
        return output * float("nan") if self.calls == 3 and distributed.ranks().rank == 1 else output


def watched_steps(job: Any, stop_at: int | None = None) -> list[str]:
    """The digest of the parameters before every training step of a job, as this process has them."""
    seen: list[str] = []

    def before(module: nn.Module, _: object) -> None:
        if module.training:
            seen.append(digest(module))
            if len(seen) == stop_at:
                raise KeyboardInterrupt

    job.model.register_forward_pre_hook(before)
    return seen


def cut_short(config: RunConfig, folder: Path, name: str, step: int) -> Job:
    """A run that was interrupted before a training step, ready to go on."""
    job = start(config, runs=folder, name=name)
    watched_steps(job, stop_at=step)
    try:
        job.train()
    except KeyboardInterrupt:
        return resume(RunFolder.open(folder / name))
    raise AssertionError(f"{name} was not interrupted")


def raised(function: Callable[[], object]) -> str:
    try:
        function()
    except PemnError as error:
        return str(error)
    return "nothing"


def fail_on(rank: int) -> None:
    if distributed.ranks().rank == rank:
        raise PemnError(f"process {rank} has no data")


def battery(folder: Path) -> dict[str, Any]:
    here = distributed.ranks()
    found: dict[str, Any] = {"size": here.size, "rank": here.rank}

    found["gradient_error"], found["gradient_error_unused"] = gradients(masked_net), gradients(HasUnused)

    found["overlap"], found["digest_overlap"] = overlap()

    torch.manual_seed(here.rank)
    net = distributed.replicate(nn.Sequential(nn.Flatten(), nn.Linear(64, 2)), digits(10).spec)
    torch.manual_seed(0)
    found["begins_as_first"] = all(
        value.equal(expected) for value, expected in zip(net.parameters(), nn.Linear(64, 2).parameters(), strict=True)
    )

    whole, half = nn.BatchNorm1d(5), nn.BatchNorm1d(5)
    images = torch.randn(64, 5, generator=torch.Generator().manual_seed(1)) * 3 + 2
    whole(images)
    half(images[here.part(64)])
    distributed.settle_(half)
    found["mean_error"] = float((whole.running_mean - half.running_mean).abs().max())
    found["variance_error"] = float((whole.running_var / half.running_var - 1).abs().max())
    found["batches"] = int(half.num_batches_tracked)

    found["from_first"] = distributed.from_first(lambda: f"rank {here.rank}")
    found["first_fails"] = raised(lambda: distributed.from_first(lambda: fail_on(0)))
    found["second_fails"] = raised(lambda: distributed.on_all(lambda: fail_on(1)))
    found["too_small"] = raised(lambda: start(small(batch_size=3), runs=folder).train())

    splits = digits(195)
    found["no_number"] = raised(lambda: fit(Breaks(), splits, TrainConfig(epochs=1, batch_size=32, threads=1)))
    model = build_model(small(), splits.spec.to_input())
    alone, together = (
        function(model, splits.test, splits.spec) for function in (evaluate, distributed.evaluate_together)
    )
    found["evaluation"] = [alone.correct, together.correct, alone.loss - together.loss]

    job = start(small(), runs=folder, name="whole")
    steps, reports = watched_steps(job), Recorder()
    result = job.train(reports)
    found["steps"], found["reports"] = steps, len(reports.epochs)
    found["result"], found["digest"] = result.validation and result.validation.to_dict(), digest(job.model)

    cut = cut_short(small(), folder, "cut", 11)
    cut.train()
    found["digest_resumed"] = digest(cut.model)

    cut_short(noise_config(0), folder, "begun by two", CUT)  # one process goes on
    cut = resume(RunFolder.open(folder / "begun by one"))
    found["steps_joined"], found["changed_joined"] = watched_steps(cut), cut.changed
    found["accuracy_joined"], found["digest_joined"] = cut.train().test.accuracy, digest(cut.model)

    # A user's own loop around `fit`: each process begins with other weights, and there is no run folder.
    torch.manual_seed(here.rank)
    own = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 10))
    fit(own, splits, TrainConfig(epochs=1, batch_size=32, threads=1))
    found["digest_fit"] = digest(own)
    found["buffers_fit"] = [value.tolist() for value in own.buffers()]

    found["accuracies"] = []
    for seed in range(SEEDS):
        outcome = start(noise_config(seed), runs=folder, name=f"noise-{seed}").train()
        found["accuracies"].append(outcome.test.accuracy)
    return found


def main() -> None:
    warnings.simplefilter("error")
    torch.set_num_threads(1)
    out = Path(sys.argv[1])
    with distributed.process_group():
        found = battery(out / "runs")
    (out / f"{found['rank']}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main()
