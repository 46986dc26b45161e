"""How well a model does on a set of images."""

from __future__ import annotations

import dataclasses

import torch
from torch import nn

from pemn_compress.data import DataSpec, ImageSet, Splits, normalise
from pemn_formats.errors import PemnError

__all__ = ["Evaluation", "evaluate", "watched_splits"]


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """Accuracy in percent, mean cross-entropy in nats, and the counts behind them."""

    accuracy: float
    loss: float
    correct: int
    count: int

    def to_dict(self) -> dict[str, float | int]:
        """The fields as JSON values."""
        return dataclasses.asdict(self)


@torch.inference_mode()
def evaluate(
    model: nn.Module, images: ImageSet, spec: DataSpec, *, device: torch.device | str = "cpu", batch_size: int = 512
) -> Evaluation:
    """Classify `images` in float32, without augmentation; the model is left in the mode it was in.

    Args:
        model: already on `device`; maps (n, channels, height, width) to (n, classes).
        images: what to classify; those that stay in files are decoded by threads while the model computes.
        spec: their normalisation and number of classes.
        device: where the model is.
        batch_size: images at a time.

    Raises:
        PemnError: there are no images, one cannot be read, or the model's output is not (n, classes).
    """
    place = torch.device(device)
    if not len(images):
        raise PemnError("there are no images to evaluate on")
    losses: list[torch.Tensor] = []
    correct = torch.zeros((), dtype=torch.int64, device=place)
    was_training = model.training
    model.eval()
    try:
        for pixels, labels in images.blocks(batch_size):
            target = labels.to(place)
            output = model(normalise(pixels.to(place), spec))
            check_output(output, len(target), spec.classes)
            losses.append(nn.functional.cross_entropy(output.float(), target, reduction="sum"))
            correct += (output.argmax(1) == target).sum()
    finally:
        model.train(was_training)
    hits, loss = int(correct), 0.0
    for part_loss in torch.stack(losses).tolist():  # in float64, which not every device has
        loss += part_loss
    return Evaluation(100 * hits / len(images), loss / len(images), hits, len(images))


def check_output(output: object, count: int, classes: int) -> None:
    """Raise `PemnError` unless `output` holds one number for each image and class."""
    if not isinstance(output, torch.Tensor) or output.shape != (count, classes):
        found = tuple(output.shape) if isinstance(output, torch.Tensor) else type(output).__name__
        raise PemnError(f"the model returns {found} for {count} images; expected ({count}, {classes}), one a class")


def watched_splits(splits: Splits, select_on: str) -> tuple[str, ...]:
    """The splits that every epoch is measured on: the validation images if there are any, and those that choose.

    Raises:
        PemnError: the choosing split is empty.
    """
    has_validation = len(splits.validation) > 0
    if select_on == "validation" and not has_validation:
        raise PemnError(
            "no validation images to choose the best epoch on; hold some out (of each class with at least 2 images), "
            "or select on test"
        )
    needed = {"validation": has_validation, "test": select_on == "test"}
    return tuple(split for split, wanted in needed.items() if wanted)
