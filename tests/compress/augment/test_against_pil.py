"""Each RandAugment operation beside torchvision's on PIL images, which is what the reference runs."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torchvision.transforms import InterpolationMode, autoaugment, functional

from pemn_compress.augment.randaugment import OPERATIONS

ROUNDED = ("Color", "Contrast", "AutoContrast")


def on_pil(name: str, images: Tensor, signs: Tensor, magnitude: int) -> Tensor:
    """What the reference's RandAugment does to each image."""
    height, width = images.shape[2:]
    space = autoaugment.RandAugment()._augmentation_space(31, (height, width))
    values, signed = space[name]
    amount = float(values[magnitude]) if values.ndim else 0.0
    changed = []
    for image, sign in zip(images, signs, strict=True):
        own = amount * float(sign) if signed else amount
        picture = functional.to_pil_image(image)
        picture = autoaugment._apply_op(picture, name, own, interpolation=InterpolationMode.NEAREST, fill=None)
        changed.append(functional.pil_to_tensor(picture))
    return torch.stack(changed)


@pytest.mark.parametrize("magnitude", [0, 5, 12, 21, 30])
@pytest.mark.parametrize("name", [name for name, operation in OPERATIONS.items() if operation])
def test_operations_are_those_of_pil(pictures: Tensor, name: str, magnitude: int) -> None:
    operation = OPERATIONS[name]
    assert operation is not None
    signs = torch.where(torch.arange(len(pictures)) % 2 == 0, 1.0, -1.0).double()
    apart = (operation(pictures, signs, magnitude).int() - on_pil(name, pictures, signs, magnitude).int()).abs()
    assert apart.max() <= (1 if name in ROUNDED else 0)
