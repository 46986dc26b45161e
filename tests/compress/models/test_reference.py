"""The nets compute what independent constructions with the same weights compute."""

import pytest
import torch
from torch import nn

from pemn_compress.models import build


class Residual(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return x + self.inner(x)


@pytest.mark.parametrize(("activation", "act"), [("gelu", nn.GELU), ("relu", nn.ReLU)])
def test_convmixer_is_the_papers_sequential(activation, act):
    model = build("convmixer", dim=6, depth=3, kernel=5, patch=2, classes=4, channels=3, activation=activation)
    blocks = []
    for _ in range(3):
        depthwise = nn.Sequential(nn.Conv2d(6, 6, 5, groups=6, padding="same", bias=False), act(), nn.BatchNorm2d(6))
        blocks.append(nn.Sequential(Residual(depthwise), nn.Conv2d(6, 6, 1, bias=False), act(), nn.BatchNorm2d(6)))
    paper = nn.Sequential(
        nn.Conv2d(3, 6, 2, stride=2, bias=False),
        act(),
        nn.BatchNorm2d(6),
        *blocks,
        nn.AdaptiveAvgPool2d((1, 1)),
        nn.Flatten(),
        nn.Linear(6, 4, bias=False),
    )
    paper.load_state_dict(dict(zip(paper.state_dict(), model.state_dict().values(), strict=True)))
    images = torch.rand(5, 3, 8, 8)
    torch.testing.assert_close(model(images), paper(images))


def test_vit_block_is_torchs_encoder_layer():
    block = build("vit", image=8, dim=16, depth=1, heads=4, mlp=3).blocks[0]
    layer = nn.TransformerEncoderLayer(16, 4, 48, dropout=0, activation="gelu", batch_first=True, norm_first=True)
    pairs = {
        "self_attn.in_proj_weight": block.qkv.weight,
        "self_attn.in_proj_bias": torch.zeros(48),
        "self_attn.out_proj": block.out,
        "linear1": block.fc1,
        "linear2": block.fc2,
        "norm1": block.ln1,
        "norm2": block.ln2,
    }
    state = {}
    for name, source in pairs.items():
        state |= {f"{name}.{k}": v for k, v in source.state_dict().items()} if isinstance(source, nn.Module) else {}
        state |= {} if isinstance(source, nn.Module) else {name: source}
    layer.load_state_dict(state)
    tokens = torch.randn(3, 7, 16)
    torch.testing.assert_close(block(tokens), layer(tokens))


def test_vit_tells_positions_apart():
    model = build("vit", image=8, dim=16, depth=1, heads=2).eval()
    images = torch.rand(1, 3, 8, 8)
    assert not torch.allclose(model(images), model(images.roll(4, dims=3)))
    nn.init.zeros_(model.pos)
    torch.testing.assert_close(model(images), model(images.roll(4, dims=3)))
