from __future__ import annotations

import pytest
import torch
from torchvision.transforms import v2

from pemn_compress.data import DataSpec, normalise
from pemn_compress.data.downloads import DOWNLOADS


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_every_channel_is_normalised_as_torchvision_does(name: str) -> None:
    mean, std = DOWNLOADS[name].constants or ((), ())
    every_level = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16).expand(2, 3, 16, 16)
    theirs = v2.Compose(
        [v2.ToDtype(torch.float32, scale=True), v2.Normalize([float(v) for v in mean], [float(v) for v in std])]
    )
    found = normalise(every_level, DataSpec(name, 10, 3, (16, 16), mean, std))
    torch.testing.assert_close(found, theirs(every_level), rtol=0, atol=1e-6)
    assert int(every_level.max()) == 255  # the pixels are left as they were
