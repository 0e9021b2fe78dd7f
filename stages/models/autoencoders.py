"""Autoencoders that need no weights: pixels themselves, and pixels folded into channels.

The interface every autoencoder has (trained ones too): `encode` image [B, 3, H, W] in [-1, 1] -> latent
[B, channels, H/factor, W/factor]; `decode` back; `space` names the latent space in artifact facets, so that
a latent or a model of one space is refused where another is expected.
"""

from __future__ import annotations

from typing import Protocol

from torch import Tensor
from torch.nn.functional import pixel_shuffle, pixel_unshuffle


class Autoencoder(Protocol):
    """What a latent diffusion model needs of its autoencoder; see the module's docstring for shapes."""

    channels: int
    factor: int
    space: str

    def encode(self, image: Tensor) -> Tensor: ...
    def decode(self, latent: Tensor) -> Tensor: ...


class Identity:
    """Pixel space: the latent is the image."""

    channels = 3
    factor = 1
    space = "pixel"

    def encode(self, image: Tensor) -> Tensor:
        return image

    def decode(self, latent: Tensor) -> Tensor:
        return latent


class SpaceToDepth:
    """Lossless folding of factor x factor pixel blocks into channels, times two.

    Photographs in [-1, 1] have a standard deviation of about one half; a power of two brings the latent's
    variance near one, as the process assumes, and loses no bit on the way back. At the factor of the
    model's scale the latent has LR resolution, as that of VQ-f4 has at x4.
    """

    GAIN = 2.0

    def __init__(self, factor: int) -> None:
        self.factor = factor
        self.channels = 3 * factor * factor
        self.space = f"space-to-depth-{factor}"

    def encode(self, image: Tensor) -> Tensor:
        return pixel_unshuffle(image, self.factor) * self.GAIN

    def decode(self, latent: Tensor) -> Tensor:
        return pixel_shuffle(latent / self.GAIN, self.factor)


def build_autoencoder(name: str, scale: int) -> Autoencoder:
    """The autoencoder called `name` for models of `scale`. Raises ValueError for an unknown name."""
    if name == "identity":
        return Identity()
    if name == "space-to-depth":
        return SpaceToDepth(scale)
    raise ValueError(f"autoencoder: expected identity or space-to-depth, got {name!r}")
