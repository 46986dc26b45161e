"""The reference's ConvMixer."""

from __future__ import annotations

from torch import Tensor, nn

from benchmarks.reference.layers import MaskedConv2d, MaskedLinear

__all__ = ["conv_mixer"]


class _Residual(nn.Module):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.inner(x)
        return y + x


def conv_mixer(*, dim: int, depth: int, kernel: int, patch: int, classes: int, channels: int = 3) -> nn.Module:
    """Patches, `depth` blocks of a depthwise and a pointwise convolution, average pool, linear head; all masked."""
    return nn.Sequential(
        MaskedConv2d(channels, dim, patch, stride=patch),
        nn.GELU(),
        nn.BatchNorm2d(dim),
        *(
            nn.Sequential(
                _Residual(
                    nn.Sequential(
                        MaskedConv2d(dim, dim, kernel, groups=dim, padding="same"), nn.GELU(), nn.BatchNorm2d(dim)
                    )
                ),
                MaskedConv2d(dim, dim, 1),
                nn.GELU(),
                nn.BatchNorm2d(dim),
            )
            for _ in range(depth)
        ),
        nn.AdaptiveAvgPool2d((1, 1)),
        nn.Flatten(),
        MaskedLinear(dim, classes),
    )
