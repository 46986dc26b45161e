"""RandAugment (Cubuk et al. 2019) with torchvision's operations and magnitudes, the images grouped by operation."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from pemn_compress.augment import affine, blending, levels
from pemn_compress.augment.draws import below, same

__all__ = ["OPERATIONS", "choose", "randaugment"]

_BINS = 31
_Operation = Callable[[Tensor, Tensor, int], Tensor]


def _linear(most: float, magnitude: int, least: float = 0.0) -> float:
    return float(torch.linspace(least, most, _BINS)[magnitude])


def _affine(most: float, matrices: Callable[[Tensor, tuple[int, int]], Tensor]) -> _Operation:
    def apply(images: Tensor, signs: Tensor, magnitude: int) -> Tensor:
        size = (images.shape[2], images.shape[3])
        return affine.affine_nearest(images, matrices(signs * _linear(most, magnitude), size))

    return apply


def _moved(axis: int) -> _Operation:
    def apply(images: Tensor, signs: Tensor, magnitude: int) -> Tensor:
        far = signs * _linear(150.0 / 331.0 * images.shape[axis], magnitude)
        still = torch.zeros_like(far)
        matrices = affine.translation(far, still) if axis == 3 else affine.translation(still, far)
        return affine.affine_nearest(images, matrices)

    return apply


def _blended(change: Callable[[Tensor, Tensor], Tensor]) -> _Operation:
    def apply(images: Tensor, signs: Tensor, magnitude: int) -> Tensor:
        return change(images.float(), 1.0 + signs * _linear(0.9, magnitude)).to(torch.uint8)

    return apply


OPERATIONS: Mapping[str, _Operation | None] = {
    "Identity": None,
    "ShearX": _affine(0.3, lambda amount, _: affine.shear_x(amount)),
    "ShearY": _affine(0.3, lambda amount, _: affine.shear_y(amount)),
    "TranslateX": _moved(3),
    "TranslateY": _moved(2),
    "Rotate": _affine(30.0, affine.rotation),
    "Brightness": _blended(blending.brightness_),
    "Color": _blended(blending.saturation_),
    "Contrast": _blended(blending.contrast_),
    "Sharpness": _blended(blending.sharpness_),
    "Posterize": lambda images, _, magnitude: levels.posterize(images, 8 - round(magnitude / ((_BINS - 1) / 4))),
    "Solarize": lambda images, _, magnitude: levels.solarize(images, 255.0 * _linear(0.0, magnitude, 1.0)),
    "AutoContrast": lambda images, *_: levels.autocontrast(images),
    "Equalize": lambda images, *_: levels.equalize(images),
}
"""Operation by name, in torchvision's order: (images, signs, magnitude) to images. None changes nothing."""


def choose(words: Tensor) -> tuple[Tensor, Tensor]:
    """Draw an operation (its place in OPERATIONS) and a sign, -1.0 or 1.0, from one word an image."""
    return below(words, len(OPERATIONS)), (words & 1).double() * 2.0 - 1.0


def randaugment(images: Tensor, words: Tensor, magnitude: int) -> Tensor:
    """Put as many operations on each image as it has words.

    Args:
        images: uint8 (n, channels, height, width) of 1 or 3 channels; changed in place and returned.
        words: int64 (n, operations) on the CPU: how many images take which operation is known without asking a device.
        magnitude: 0 to 30, one for all.
    """
    for drawn in words.unbind(1):
        kinds, signs = choose(drawn)
        for members, operation in zip(same(kinds, len(OPERATIONS)), OPERATIONS.values(), strict=True):
            if operation is not None and len(members):
                index = members.to(images.device, non_blocking=True)
                images.index_copy_(0, index, operation(images.index_select(0, index), signs[members], magnitude))
    return images
