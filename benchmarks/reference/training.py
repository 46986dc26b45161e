"""The reference's training: one epoch after another, each followed by an evaluation."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks.reference.data import test_loader, train_loader
from benchmarks.reference.layers import share_values
from benchmarks.reference.net import conv_mixer
from pemn_compress.config import MaskConfig
from pemn_compress.data import ImageSet, Splits
from pemn_compress.train.run_config import RunConfig

__all__ = ["Baseline"]


class Baseline:
    """A run of the reference's algorithm with the net, images and recipe of one of our runs.

    Args:
        config: the run; its masks name the strategy.
        splits: the images.
        device: where the net is.
        workers: processes that augment.
    """

    def __init__(self, config: RunConfig, splits: Splits, device: torch.device, *, workers: int = 2) -> None:
        mask = config.mask or MaskConfig()
        self.config, self.splits, self.device, self.workers = config, splits, device, workers
        torch.manual_seed(config.train.seed)
        net = {name: int(config.model_args[name]) for name in ("dim", "depth", "kernel", "patch")}
        self.net = conv_mixer(**net, classes=splits.spec.classes, channels=splits.spec.channels)
        share_values(self.net, mask.strategy, mask.ratio)
        self.net.to(device)
        recipe = config.train
        self.optimizer = torch.optim.AdamW(self.net.parameters(), lr=recipe.lr, weight_decay=recipe.weight_decay)
        self.half = device.type == "cuda"
        self.scaler = torch.amp.GradScaler(device.type, enabled=self.half)
        self.loader = train_loader(splits.train, splits.spec, recipe, workers)
        self.finished = 0

    def epoch(self) -> dict[str, float]:
        """Train over the images once and evaluate; seconds of both, images a second, and validation accuracy."""
        began = time.perf_counter()
        loss = self._train()
        trained = time.perf_counter() - began
        self.finished += 1
        accuracy = self.accuracy(self.splits.validation)
        return {
            "train_loss": loss,
            "validation_accuracy": accuracy,
            "images_per_second": len(self.splits.train) / trained,
            "seconds": time.perf_counter() - began,
        }

    def _train(self) -> float:
        recipe, total, seen = self.config.train, 0.0, 0
        nodes = [0, recipe.epochs * 2 // 5, recipe.epochs * 4 // 5, recipe.epochs]
        rates = [0, recipe.lr, recipe.lr / 20, 0]
        correct = 0
        self.net.train()
        for step, (images, labels) in enumerate(self.loader):
            images, labels = images.to(self.device), labels.to(self.device)
            done = self.finished + (step + 1) / len(self.loader)
            self.optimizer.param_groups[0]["lr"] = float(np.interp(done, nodes, rates))
            self.optimizer.zero_grad()
            with torch.autocast(self.device.type, torch.float16, enabled=self.half):
                output = self.net(images)
                loss = nn.CrossEntropyLoss()(output, labels)
            torch.autograd.backward(self.scaler.scale(loss))
            self.scaler.step(self.optimizer)
            self.scaler.update()
            total += loss.item() * len(labels)
            correct += int((output.max(1)[1] == labels).sum().item())
            seen += len(labels)
        return total / seen

    @torch.no_grad()
    def accuracy(self, images: ImageSet) -> float:
        """Percent of the images that the net gets right."""
        correct = 0
        self.net.eval()
        for pixels, labels in test_loader(images, self.splits.spec, self.config.train.batch_size, self.workers):
            with torch.autocast(self.device.type, torch.float16, enabled=self.half):
                output = self.net(pixels.to(self.device))
            correct += int((output.max(1)[1] == labels.to(self.device)).sum().item())
        return 100 * correct / len(images)

    def weights(self) -> dict[str, Any]:
        """A copy of everything that the net holds."""
        return {name: value.detach().clone() for name, value in self.net.state_dict().items()}
