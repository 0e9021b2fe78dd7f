"""A tiny autoencoder in the manner of TAESD: plain convolutions and ReLU, no norm, no attention.

With the defaults it has TAESD's shape: 2.445 M parameters, factor 8, 4 channels. TAESD's weights speak the
latents of Stable Diffusion's KL-f8 after scaling, at a small part of its cost (github.com/madebyollin/taesd).
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn.functional import relu

from stages.models.latent_space import TrainedAutoencoder


def conv(inputs: int, outputs: int, *, stride: int = 1, bias: bool = True) -> nn.Conv2d:
    """3x3, padded with zeros."""
    return nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=bias)


class TinyBlock(nn.Module):
    """Three convolutions beside a skip; the sum is rectified."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second, self.third = conv(width, width), conv(width, width), conv(width, width)

    def forward(self, x: Tensor) -> Tensor:
        return relu(x + self.third(relu(self.second(relu(self.first(x))))))


class SoftBound(nn.Module):
    """3 tanh(x / 3): keeps latents that no encoder made from driving the decoder anywhere."""

    def forward(self, x: Tensor) -> Tensor:
        return 3 * torch.tanh(x / 3)


class TinyAutoencoder(TrainedAutoencoder):
    """Image [B, 3, H, W] in [-1, 1] <-> latent [B, channels, H/factor, W/factor], factor = 2^halvings."""

    family = "tiny"

    def __init__(self, *, channels: int = 4, width: int = 64, blocks: int = 3, halvings: int = 3) -> None:
        super().__init__()
        self.constructor = {"channels": channels, "width": width, "blocks": blocks, "halvings": halvings}
        self.channels = channels
        self.factor = 2**halvings
        down: list[nn.Module] = [conv(3, width), TinyBlock(width)]
        up: list[nn.Module] = [SoftBound(), conv(channels, width), nn.ReLU()]
        for _ in range(halvings):
            down += [conv(width, width, stride=2, bias=False), *(TinyBlock(width) for _ in range(blocks))]
            up += [*(TinyBlock(width) for _ in range(blocks)), nn.Upsample(scale_factor=2)]
            up += [conv(width, width, bias=False)]
        self.encoder = nn.Sequential(*down, conv(width, channels))
        self.decoder = nn.Sequential(*up, TinyBlock(width), conv(width, 3))

    def encoding(self) -> Iterable[nn.Module]:
        return (self.encoder,)

    def encode(self, image: Tensor) -> Tensor:
        out: Tensor = self.encoder((image + 1) / 2)
        return out

    def decode(self, latent: Tensor) -> Tensor:
        out: Tensor = 2 * self.decoder(latent) - 1
        return out

    def forward(self, image: Tensor) -> Tensor:
        """The image's reconstruction."""
        return self.decode(self.encode(image))
