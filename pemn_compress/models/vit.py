"""Vision Transformer (Dosovitskiy et al. 2021, arXiv 2010.11929) for small images, pre-norm, mean-pooled.

Every projection is a plain convolution or linear layer, so that all of them can be masked. Tokens are pooled by
their mean instead of a class token (Beyer et al. 2022, arXiv 2205.01580), which keeps the token count a square.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pemn_compress.models.arguments import Definition, Integer, Value
from pemn_formats.errors import PemnError

__all__ = ["VIT", "ViT"]

MAX_TOKENS = 65_536


class Block(nn.Module):
    """Self-attention, then a two-layer perceptron; each behind a LayerNorm and a skip."""

    def __init__(self, dim: int, heads: int, mlp: int) -> None:
        super().__init__()
        self.heads = heads
        self.ln1 = nn.LayerNorm(dim)
        self.qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.out = nn.Linear(dim, dim)
        self.ln2 = nn.LayerNorm(dim)
        self.fc1 = nn.Linear(dim, mlp * dim)
        self.fc2 = nn.Linear(mlp * dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Map tokens [n, t, dim] to the same shape."""
        q, k, v = self.qkv(self.ln1(x)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        x = x + self.out(attended)
        y: Tensor = x + self.fc2(F.gelu(self.fc1(self.ln2(x))))
        return y


class ViT(nn.Module):
    """Patch embedding, learned positions, `depth` transformer blocks, mean over tokens, linear head."""

    def __init__(
        self, image: int, patch: int, dim: int, depth: int, heads: int, mlp: int, classes: int, channels: int
    ) -> None:
        super().__init__()
        self.patch = nn.Conv2d(channels, dim, patch, stride=patch)
        self.pos = nn.Parameter(0.02 * torch.randn(1, (image // patch) ** 2, dim))
        self.blocks = nn.Sequential(*(Block(dim, heads, mlp) for _ in range(depth)))
        self.ln = nn.LayerNorm(dim)
        self.head = nn.Linear(dim, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Map images [n, channels, image, image] to logits [n, classes]."""
        x = self.patch(x).flatten(2).transpose(1, 2) + self.pos
        y: Tensor = self.head(self.ln(self.blocks(x)).mean(1))
        return y


def _relate(args: Mapping[str, Value]) -> None:
    image, patch, dim, heads = (int(args[key]) for key in ("image", "patch", "dim", "heads"))
    if image % patch:
        raise PemnError(
            f"model vit: image side {image} is not a multiple of patch {patch}; choose a patch that divides it"
        )
    if (image // patch) ** 2 > MAX_TOKENS:
        raise PemnError(
            f"model vit: {(image // patch) ** 2:,} patches; the most is {MAX_TOKENS:,}: choose a larger patch"
        )
    if dim % heads:
        raise PemnError(f"model vit: dim {dim} is not a multiple of heads {heads}; choose a number that divides it")


VIT = Definition(
    "vit",
    {
        "image": Integer(32, 1, 1_024),
        "patch": Integer(4, 1, 64),
        "dim": Integer(256, 1, 16_384),
        "depth": Integer(6, 1, 256),
        "heads": Integer(8, 1, 256),
        "mlp": Integer(2, 1, 16),
        "classes": Integer(10, 1, 1_000_000),
        "channels": Integer(3, 1, 1_024),
    },
    ViT,
    _relate,
)
