from __future__ import annotations

import dataclasses

import pytest
import safetensors.torch
import torch
from torch import Tensor, nn
from torchvision.models import resnet18

from pemn_compress.config import MaskConfig
from pemn_compress.data import DataSpec, ImageSet, Splits
from pemn_compress.masking import mask_, masked_weights
from pemn_compress.models import build
from pemn_compress.train.config import TrainConfig
from pemn_compress.train.loop import fit
from pemn_compress.train.memory_format import in_channels_last, place_

CPU, GPU = torch.device("cpu"), torch.device("cuda")


class Viewing(nn.Module):
    """A net that would not work on channels-last images, as many users' would not."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.head = nn.Linear(4 * 64, 3)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.head(self.conv(x).view(len(x), -1))
        return y


def test_it_is_chosen_on_the_cpu_for_known_nets() -> None:
    known = [build("convmixer", dim=8, depth=1), mask_(build("resnet", depth=20)), resnet18()]
    assert all(in_channels_last(net, None, CPU) for net in known)
    assert not any(in_channels_last(net, None, GPU) for net in known)
    assert not in_channels_last(Viewing(), None, CPU)
    for net in (known[0], Viewing()):
        assert in_channels_last(net, True, GPU)
        assert not in_channels_last(net, False, CPU)


@pytest.mark.parametrize("net", [Viewing(), build("convmixer", dim=8, depth=1, classes=3, patch=2)])
def test_nets_train_in_the_format_chosen_for_them(net: nn.Module, images: ImageSet, spec: DataSpec) -> None:
    splits = Splits(spec, images, images, images)
    result = fit(mask_(net), splits, TrainConfig(epochs=1, batch_size=8))
    assert result.epochs == 1


@pytest.mark.parametrize("wanted", [None, True, False])
def test_images_and_kernels_lie_in_the_format_chosen(wanted: bool | None, images: ImageSet, spec: DataSpec) -> None:
    net, seen = build("convmixer", dim=8, depth=1, classes=3, patch=2), []

    def look(module: nn.Module, inputs: tuple[Tensor]) -> None:
        if module.training:
            kernel = net.get_parameter("patch.weight")
            seen.extend(each.is_contiguous(memory_format=torch.channels_last) for each in (*inputs, kernel))

    net.register_forward_pre_hook(look)
    fit(net, Splits(spec, images, images, images), TrainConfig(epochs=1, batch_size=8, channels_last=wanted))
    assert seen == [wanted is not False] * 8


def test_values_shared_with_tensors_that_moved_take_no_more_than_their_own_memory() -> None:
    def held(net: nn.Module) -> int:
        storages = [weight.value.untyped_storage() for _, weight, _ in masked_weights(net)]
        return sum({storage.data_ptr(): storage.nbytes() for storage in storages}.values())

    net = mask_(build("resnet", depth=8, width=4), MaskConfig(strategy="mp", distribution="normal", scale="none"))
    before = {name: weight.value.clone() for name, weight, _ in masked_weights(net)}
    assert held(net) == 4 * max(value.numel() for value in before.values())
    place_([net], False, CPU)
    assert held(net) == 4 * max(value.numel() for value in before.values())
    place_([net], True, CPU)
    assert held(net) <= 4 * sum(value.numel() for value in before.values())
    for name, weight, _ in masked_weights(net):
        torch.testing.assert_close(weight.value, before[name], rtol=0, atol=0)


@pytest.mark.parametrize("masked", [True, False])
def test_a_trained_net_lies_in_memory_as_others_expect(masked: bool, images: ImageSet, spec: DataSpec) -> None:
    net = build("convmixer", dim=8, depth=1, classes=3, patch=2)
    net = mask_(net) if masked else net
    fit(net, Splits(spec, images, images, images), TrainConfig(epochs=1, batch_size=8, channels_last=True))
    assert all(value.is_contiguous() for value in net.state_dict().values())
    assert safetensors.torch.save(net.state_dict())


def test_both_formats_learn_the_same_to_rounding(images: ImageSet, spec: DataSpec) -> None:
    splits, losses = Splits(spec, images, images, images), []
    for wanted in (True, False):
        net = mask_(build("convmixer", dim=8, depth=1, classes=3, patch=2))
        config = TrainConfig(epochs=1, batch_size=8, lr=1e-3, channels_last=wanted)
        found = fit(net, splits, dataclasses.replace(config, seed=1)).validation
        assert found is not None
        losses.append(found.loss)
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)


def test_a_teacher_that_would_not_work_in_it_decides_too(images: ImageSet, spec: DataSpec) -> None:
    splits = Splits(spec, images, images, images)
    pupil = mask_(build("convmixer", dim=8, depth=1, classes=3, patch=2))
    assert fit(pupil, splits, TrainConfig(epochs=1, batch_size=8), teacher=Viewing()).epochs == 1
