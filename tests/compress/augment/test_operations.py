"""Each operation beside torchvision's own on the same images with the same parameters."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torchvision.transforms import InterpolationMode, v2
from torchvision.transforms.v2 import functional

from pemn_compress.augment.blending import brightness_, contrast_, saturation_
from pemn_compress.augment.crop import resized_crop
from pemn_compress.augment.erasing import erase
from pemn_compress.augment.jitter import ORDERS, jitter
from pemn_compress.augment.randaugment import OPERATIONS

GEOMETRY = ("ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate")
BLENDED = ("Brightness", "Color", "Contrast", "Sharpness")
TABLES = ("Posterize", "Solarize", "AutoContrast", "Equalize")


def theirs(name: str, images: Tensor, signs: Tensor, magnitude: int) -> Tensor:
    """What torchvision's RandAugment does to each image."""
    transform = v2.RandAugment()
    levels, signed = transform._AUGMENTATION_SPACE[name]
    values = levels(31, *images.shape[2:])
    amount = 0.0 if values is None else float(values[magnitude])
    changed = [
        transform._apply_image_or_video_transform(
            image, name, amount * float(sign) if signed else amount, InterpolationMode.NEAREST, transform._fill
        )
        for image, sign in zip(images, signs, strict=True)
    ]
    return torch.stack(changed)


def ours(name: str, images: Tensor, signs: Tensor, magnitude: int) -> Tensor:
    operation = OPERATIONS[name]
    assert operation is not None
    return operation(images, signs, magnitude)


def signs_of(images: Tensor) -> Tensor:
    return torch.where(torch.arange(len(images)) % 2 == 0, 1.0, -1.0).double()


def test_the_operations_are_torchvisions_in_its_order() -> None:
    assert list(OPERATIONS) == list(v2.RandAugment._AUGMENTATION_SPACE)
    assert set(OPERATIONS) == {"Identity", *GEOMETRY, *BLENDED, *TABLES}


@pytest.mark.parametrize("magnitude", [0, 5, 12, 21, 30])
@pytest.mark.parametrize("name", TABLES)
def test_tables_of_values_are_equal(pictures: Tensor, name: str, magnitude: int) -> None:
    signs = signs_of(pictures)
    assert ours(name, pictures, signs, magnitude).equal(theirs(name, pictures, signs, magnitude))


@pytest.mark.parametrize("magnitude", [0, 5, 12, 21, 30])
@pytest.mark.parametrize("name", BLENDED)
def test_blends_differ_by_one_level_in_one_pixel_of_a_hundred(pictures: Tensor, name: str, magnitude: int) -> None:
    # torchvision multiplies and adds in one rounding; where the exact result is a whole number, cutting may differ.
    signs = signs_of(pictures)
    apart = (ours(name, pictures, signs, magnitude).int() - theirs(name, pictures, signs, magnitude).int()).abs()
    assert apart.max() <= 1
    assert apart.count_nonzero() <= 0.01 * apart.numel()


@pytest.mark.parametrize("magnitude", [0, 5, 9, 21, 29])
@pytest.mark.parametrize("name", GEOMETRY)
def test_moved_pixels_are_equal(pictures: Tensor, name: str, magnitude: int) -> None:
    signs = signs_of(pictures)
    assert ours(name, pictures, signs, magnitude).equal(theirs(name, pictures, signs, magnitude))


@pytest.mark.parametrize("name", GEOMETRY)
def test_moved_pixels_differ_only_half_way_between_two(pictures: Tensor, name: str) -> None:
    # At magnitude 12 a shear moves row 12 by 1.5 pixels: rounding of the 24th bit decides torchvision's neighbour.
    signs = signs_of(pictures)
    different = ours(name, pictures, signs, 12) != theirs(name, pictures, signs, 12)
    assert different.count_nonzero() <= different.numel() / 16


def test_jitter_does_what_torchvision_does_in_each_order(pictures: Tensor) -> None:
    orders = torch.arange(len(pictures)) % len(ORDERS)
    factors = torch.linspace(0.6, 1.4, 3 * len(pictures), dtype=torch.float64).view(3, -1).T
    changes = (functional.adjust_brightness, functional.adjust_contrast, functional.adjust_saturation)
    expected = []
    for image, order, own in zip(pictures, orders.tolist(), factors.tolist(), strict=True):
        for change in ORDERS[order]:
            image = changes[change](image, own[change])
        expected.append(image)
    apart = (jitter(pictures.clone(), orders, factors).int() - torch.stack(expected).int()).abs()
    # One level after the first blend may be two after the next.
    assert apart.max() <= 2
    assert apart.count_nonzero() <= 0.02 * apart.numel()


@pytest.mark.parametrize("box", [(0, 0, 20, 20), (3, 5, 11, 11), (1, 0, 2, 2), (7, 9, 1, 1)])
def test_a_crop_is_torchvisions_to_one_level(pictures: Tensor, box: tuple[int, int, int, int]) -> None:
    found = resized_crop(pictures, torch.tensor([box] * len(pictures)))
    expected = functional.resized_crop(pictures, *box, size=list(pictures.shape[2:]), antialias=True)
    assert (found.int() - expected.int()).abs().max() <= 1


def test_each_image_is_cropped_by_its_own_box(pictures: Tensor) -> None:
    boxes = torch.tensor([[row % 5, row % 7, 13, 13] for row in range(len(pictures))])
    size = list(pictures.shape[2:])
    expected = [
        functional.resized_crop(image, *box, size=size) for image, box in zip(pictures, boxes.tolist(), strict=True)
    ]
    assert (resized_crop(pictures, boxes).int() - torch.stack(expected).int()).abs().max() <= 1


def test_the_whole_image_as_a_crop_is_the_image(pictures: Tensor) -> None:
    height, width = pictures.shape[2:]
    assert resized_crop(pictures, torch.tensor([[0, 0, height, width]] * len(pictures))).equal(pictures)


def test_erasing_fills_the_box_and_nothing_else(pictures: Tensor) -> None:
    boxes = torch.tensor([[2, 3, row % 9, 4] if row % 3 else [0, 0, 0, 0] for row in range(len(pictures))])
    colour = [10, 20, 30][: pictures.shape[1]]
    value = torch.tensor(colour, dtype=torch.uint8).view(-1, 1, 1)
    for found, image, (top, left, height, width) in zip(
        erase(pictures, boxes, colour), pictures, boxes.tolist(), strict=True
    ):
        assert found.equal(functional.erase(image, top, left, height, width, value))


def test_factors_of_one_change_nothing(pictures: Tensor) -> None:
    ones = torch.ones(len(pictures), dtype=torch.float64)
    for change in (brightness_, contrast_, saturation_):
        assert change(pictures.float(), ones).equal(pictures.float())
