"""The training loop: AdamW on scores and residual, a checkpoint an epoch, the best epoch on held-out images."""

from __future__ import annotations

import time
from typing import Any

import torch
from torch import Tensor, nn

from pemn_compress.data import Splits
from pemn_compress.density import ramp_density
from pemn_compress.train.averaging import Average
from pemn_compress.train.batches import TrainBatches
from pemn_compress.train.best import is_better, remember
from pemn_compress.train.check_model import check_model
from pemn_compress.train.config import TrainConfig
from pemn_compress.train.device import cpu_threads, resolve_device, seeded
from pemn_compress.train.distributed import evaluate_together, from_first, ranks, replicate, settle_, training_together
from pemn_compress.train.evaluate import Evaluation, watched_splits
from pemn_compress.train.losses import Losses
from pemn_compress.train.mask_gradients import MaskGradients
from pemn_compress.train.measure import measure
from pemn_compress.train.memory_format import place_
from pemn_compress.train.objective import Objective
from pemn_compress.train.on_device import watched_on_device
from pemn_compress.train.optimizer import build_optimizer
from pemn_compress.train.precision import Precision
from pemn_compress.train.progress import EpochReport, Progress, StepReport
from pemn_compress.train.rate_control import RateControl
from pemn_compress.train.result import FitResult
from pemn_compress.train.run import RunFolder
from pemn_compress.train.schedule import learning_rate
from pemn_formats.errors import PemnError
from pemn_formats.philox import words

__all__ = ["FitResult", "fit"]

_KEPT = ("model", "optimizer", "precision", "rate_control", "average")  # whose states a checkpoint keeps
_RANDOM_STREAM = 1 << 37  # of the run's seed: what dropout and the like draw from, one word an epoch and process


def fit(
    model: nn.Module,
    splits: Splits,
    config: TrainConfig | None = None,
    *,
    run: RunFolder | None = None,
    resume: bool = False,
    progress: Progress | None = None,
    rate_control: RateControl | None = None,
    teacher: nn.Module | None = None,
) -> FitResult:
    """Train a masked or a dense model in place and leave it, on the run's device, with the weights of its best epoch.

    The best epoch has the highest accuracy on the split that `config.select_on` names, then the lowest loss, then the
    lowest number. The test images are looked at once, at the end, unless that split is theirs. On the CPU with the same
    number of threads, equal arguments give equal bits, and a resumed run gives those of an uninterrupted one: all that
    is random is a function of the seed and the epoch, so a checkpoint needs no generator's state.

    In one process, uncompiled, scores get their gradients once the backward pass of a step is over, from those of their
    weights: who asks autograd for them inside the step, as a model could in its forward, gets none.

    Inside an initialised process group of torch.distributed, where every process calls this with equal arguments, they
    train one model together: each takes its part of every batch, the first one writes and reports, and all end with the
    same weights.

    Args:
        model: maps (n, channels, height, width) to (n, classes).
        splits: the images.
        config: the recipe; None is `TrainConfig()`.
        run: where to keep metrics, checkpoints and the result; None keeps nothing on disk.
        resume: go on from the newest checkpoint of `run`.
        progress: receives reports.
        rate_control: sets the price of the masks' bits step by step; None keeps that of `config`.
        teacher: a net for the same images to learn from, in the measure of `config`; moved to the run's device.

    Raises:
        PemnError: the model does not fit the data, the loss stops being a number, or a file cannot be written.
    """
    config = config or TrainConfig()
    with cpu_threads(config.threads), training_together():
        training = _Training(model, splits, config, run, progress or Progress(), rate_control, teacher)
        if resume:
            training.restore()
        while training.finished < config.epochs:
            training.one_epoch()
        return training.conclude()


class _Training:
    """The moving parts of `fit`; `finished` counts whole epochs."""

    def __init__(
        self,
        model: nn.Module,
        splits: Splits,
        config: TrainConfig,
        run: RunFolder | None,
        progress: Progress,
        rate_control: RateControl | None,
        teacher: nn.Module | None,
    ) -> None:
        self.config, self.run = config, run
        self.ranks = ranks()
        self.progress = progress if self.ranks.first else Progress()
        self.device = resolve_device(config.device)
        nets = (model, teacher) if teacher else (model,)
        self.channels_last = place_(nets, config.channels_last, self.device)
        self.model = model
        self.watched = watched_splits(splits, config.select_on)
        self.batches = TrainBatches(splits.train, splits.spec, config, self.device, self.ranks)
        self.splits = watched_on_device(splits, () if config.workers is not None else self.watched, self.device)
        self.optimizer = build_optimizer(model, config)
        self.rate_control = rate_control or RateControl(config.rate)
        self.average = Average(self.model, config.ema)
        self.objective = Objective(model, config, splits.spec.classes, teacher=teacher, control=self.rate_control)
        self.precision = Precision(config.amp, self.device)
        self.finished = 0
        self.seconds = 0.0
        self.best: dict[str, Any] = {}
        check_model(self.model, splits.spec, self.device)
        together = replicate(model, splits.spec)
        self.forward = torch.compile(together) if config.compile else together

    def one_epoch(self) -> None:
        began = time.perf_counter()
        loss, accuracy, rate = self._train(self.finished)
        settle_(self.model)
        self.average.settle()
        trained = time.perf_counter() - began
        self.finished += 1
        with self.average.applied():
            self.rate_control.bring_down_(self.model, self.finished, self.config.epochs)
            found = measure(self.model, self.splits, self.watched, self.device, self.rate_control)
            admitted = self.rate_control.admits(self.model, found.size)
            best = is_better(found.held_out[self.config.select_on], self.best, self.config.select_on, admitted=admitted)
            if best:
                self.best = remember(self.model, found, epoch=self.finished, admitted=admitted)
        self.seconds += time.perf_counter() - began
        report = EpochReport(
            epoch=self.finished,
            train_loss=loss,
            train_accuracy=accuracy,
            lr=rate,
            images_per_second=self.batches.images / trained,
            seconds=time.perf_counter() - began,
            best=best,
            rate=self.objective.rate,
            **found.to_report(),
        )
        from_first(lambda: self._keep(report))
        self.progress.epoch(report)

    def restore(self) -> None:
        """Continue after the newest whole checkpoint of the run; without one, begin."""
        run = self.run
        if run is None:
            raise PemnError("resume needs a run folder; give fit a run")
        state = from_first(lambda: run.newest_checkpoint(self.progress.note))
        if state is None:
            from_first(lambda: run.keep(0))
            return
        try:
            for name in _KEPT:
                getattr(self, name).load_state_dict(state.get(name, {}))
        except (RuntimeError, ValueError, KeyError) as error:
            detail = " ".join(str(error).split())
            raise PemnError(f"the checkpoint of {run.path} does not fit the model: {detail}") from None
        self.finished, self.seconds, self.best = state["epoch"], state["seconds"], state["best"]
        from_first(lambda: run.keep(self.finished, self.best))

    def conclude(self) -> FitResult:
        """Go back to the best epoch, look at the test images, and write the result."""
        self.model.load_state_dict(self.best["model"])
        chosen = {split: Evaluation(**found) for split, found in self.best["evaluations"].items()}
        result = FitResult(
            epochs=self.finished,
            best_epoch=self.best["epoch"],
            selected_on=self.config.select_on,
            validation=chosen.get("validation"),
            test=chosen.get("test")
            or evaluate_together(self.model, self.splits.test, self.splits.spec, device=self.device),
            density=self.best["density"],
            estimated_bytes=self.best["bytes"],
            seconds=self.seconds,
            fits=self.best.get("admitted", True),
        )
        if self.run is not None and self.ranks.first:
            self.run.write_result(result.to_dict())
        # Other programs, safetensors among them, take no tensors in another order.
        self.model.to(memory_format=torch.contiguous_format)
        return result

    def _train(self, epoch: int) -> tuple[float, float, float]:
        """One pass over the images; mean loss, accuracy in percent and the last rate."""
        self.model.train()
        losses = Losses(self.batches.sizes, self.device, self.ranks)
        gradients = MaskGradients(self.model, wanted=self.forward is self.model)
        rate, began = 0.0, time.perf_counter()
        place = epoch + (self.ranks.rank << 32)
        with seeded(int(words(self.config.seed, _RANDOM_STREAM, place, 1)[0]), self.device):
            for images, labels in self.batches.epoch(epoch):
                number = epoch * self.batches.steps + losses.step
                rate = self._prepare(number)
                losses.add(*self._step(images, labels, number, gradients), labels)
                if losses.due:
                    recent = losses.recent(epoch + 1, self._advice())
                    speed = losses.images / (time.perf_counter() - began)
                    self.progress.step(
                        StepReport(epoch + 1, self.config.epochs, losses.step, self.batches.steps, recent, speed)
                    )
        return *losses.summary(), rate

    def _step(self, images: Tensor, labels: Tensor, number: int, gradients: MaskGradients) -> tuple[Tensor, Tensor]:
        """One update; this process's loss and the model's output before it. Steps are numbered over the whole run."""
        if self.channels_last:
            images = images.contiguous(memory_format=torch.channels_last)
        self.optimizer.zero_grad(set_to_none=True)
        weight = self.ranks.weight(self.batches.sizes[number % self.batches.steps])
        with gradients:
            with self.precision.autocast():
                loss, output = self.objective(self.forward, images, labels, number)
            self.precision.backward(loss if weight == 1 else loss * weight)
            loss, output = loss.detach(), output.detach()  # their graph has all weights, and gradients of weights
        self.precision.step(self.optimizer, self.config.grad_clip)
        self.average.update()
        return loss, output

    def _prepare(self, step: int) -> float:
        """Set the learning rate, which is returned, the price of bits and the density of a step of the whole run."""
        steps = self.batches.steps * self.config.epochs
        self.objective.rate = self.rate_control.price(self.model, step, steps)
        if self.config.density_ramp:
            ramp_density(self.model, (step + 1) / steps, self.config.density_ramp)
        rate = learning_rate(self.config.schedule, self.config.lr, step, self.batches.steps, self.config.epochs)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        return rate

    def _advice(self) -> str:
        """What to do about a loss that is no number."""
        kept = f"; the state after epoch {self.finished} is in {self.run.path}" if self.run and self.finished else ""
        return f"lower the learning rate (now {self.config.lr:g}) or clip the gradient{kept}"

    def _keep(self, report: EpochReport) -> None:
        if self.run is None:
            return
        if report.best:
            self.run.save_best(self.best)
        state = {
            "epoch": self.finished,
            "seconds": self.seconds,
            "best": self.best,
            **{name: getattr(self, name).state_dict() for name in _KEPT},
        }
        self.run.add_metrics(report.to_dict())
        self.run.save_checkpoint(state, self.finished)
