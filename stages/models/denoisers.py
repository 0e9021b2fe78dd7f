"""Which network denoises: the small UNet, or ResShift's Swin UNet, from the plain JSON of a config."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stages.models.swin_unet import SwinUNet
from stages.models.unet import UNet


def halvings(factor: int, scale: int) -> int:
    """How often LR pixels have to be halved to have the latent's resolution; 0 where they are smaller.

    The latent's side is HR / factor and LR's side HR / scale, so at x4 with a factor of 4 they are equal.
    """
    ratio, rest = divmod(factor, scale)
    return ratio.bit_length() - 1 if rest == 0 and ratio & (ratio - 1) == 0 and ratio > 0 else 0


def build_denoiser(
    channels: int, factor: int, scale: int, network: Mapping[str, Any], noise_channels: int = 0
) -> UNet | SwinUNet:
    """The denoiser of latents with `channels` at 1/`factor` of HR resolution, for models of `scale`.

    `network` holds its `kind`, ``unet`` (default) or ``swin``, and its settings by keyword. Where LR pixels
    and latent differ in size by a power of two, the Swin UNet brings the pixels down by learnt convolutions,
    as the official x2 model does; any other difference is resampled. `noise_channels` widens the first convolution
    by planes of noise, which come last among its inputs. Raises ValueError for an unknown kind.
    """
    settings: dict[str, Any] = {**network, "noise_channels": noise_channels}
    kind = settings.pop("kind", "unet")
    if kind == "unet":
        return UNet(channels, 3, **settings)
    if kind == "swin":
        return SwinUNet(channels, halvings(factor, scale), **settings)
    raise ValueError(f"network.kind: expected unet or swin, got {kind!r}")
