"""Autoencoders: the interface, those that need no weights, and how any of them is built.

Without weights: pixels themselves, and pixels folded into channels. With weights: `vq.py`, `kl.py`, `tiny.py`.

The interface every autoencoder has (trained ones too): `encode` image [B, 3, H, W] in [-1, 1] -> latent
[B, channels, H/factor, W/factor]; `decode` back; `space` names the latent space in artifact facets, so that
a latent or a model of one space is refused where another is expected.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, cast

from torch import Tensor
from torch.nn.functional import pixel_shuffle, pixel_unshuffle


class Autoencoder(Protocol):
    """What a latent diffusion model needs of its autoencoder; see the module's docstring for shapes."""

    channels: int
    factor: int

    @property
    def space(self) -> str: ...
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


def build_autoencoder(which: str | Mapping[str, Any], scale: int) -> Autoencoder:
    """The autoencoder called `which` for models of `scale`, or the freshly initialised one of a card.

    A card is ``{"family": ..., "constructor": {...}}``, as in the ``model.json`` of an artifact with the role
    autoencoder. Raises ValueError for a name or family unknown here.
    """
    if which == "identity":
        return Identity()
    if which == "space-to-depth":
        return SpaceToDepth(scale)
    if isinstance(which, str):
        raise ValueError(f"autoencoder: expected identity, space-to-depth or the card of a trained one, got {which!r}")
    from stages.models.registry import build_family

    return cast(Autoencoder, build_family(which["family"], which["constructor"]))
