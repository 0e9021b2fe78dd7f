"""The latents of a batch and the image of a latent, for every method that trains in a frozen latent space."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from stages.models.autoencoders import Autoencoder
from stages.models.encoding import Precision, encode_pair, frozen_arithmetic
from stages.training.method import Batch


class InLatents(Protocol):
    """A model as this module sees it."""

    scale: int

    @property
    def autoencoder(self) -> Autoencoder: ...


def latents_of(batch: Batch, model: InLatents, precision: Precision | None = None) -> tuple[Tensor, Tensor]:
    """(z0, z_y) of `batch`, float32 [B, C, H, W]: those it carries (of a latent cache), or encoded here and now."""
    if batch.latents is not None:
        z0, zy = batch.latents
        return z0.float(), zy.float()
    return encode_pair(model.autoencoder, model.scale, batch.lr, batch.hr, precision)


def decoded(latent: Tensor, model: InLatents, precision: Precision | None = None) -> Tensor:
    """The image [B, 3, H, W] of `latent`, clamped to [-1, 1] as ResShift does before it compares.

    The gradient goes through the frozen decoder, and past its quantiser, if it has one, as if that were not there
    (straight-through).
    """
    with frozen_arithmetic(latent.device, precision):
        return model.autoencoder.decode(latent.float()).float().clamp(-1, 1)
