"""Learn from a teacher's answers (Hinton, Vinyals and Dean 2015)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["Distillation"]


class Distillation:
    """Mixes a teacher's answers into the loss: (1 - weight) * loss + weight * T^2 * KL(teacher || student).

    Both are softened by the temperature T; its square keeps the size of the gradient.

    Args:
        teacher: maps images to logits; used in evaluation mode and never changed.
        weight: the share of the teacher, in [0, 1].
        temperature: above 0.
    """

    def __init__(self, teacher: nn.Module, weight: float, temperature: float) -> None:
        self._teacher = teacher.eval()
        self._weight, self._temperature = weight, temperature

    def __call__(self, loss: Tensor, output: Tensor, images: Tensor) -> Tensor:
        """The mixed loss of a batch, of which `loss` is the one against labels."""
        with torch.no_grad():
            answers = functional.log_softmax(self._teacher(images).float() / self._temperature, 1)
        soft = functional.log_softmax(output.float() / self._temperature, 1)
        apart = functional.kl_div(soft, answers, reduction="batchmean", log_target=True)
        return (1 - self._weight) * loss + self._weight * self._temperature**2 * apart
