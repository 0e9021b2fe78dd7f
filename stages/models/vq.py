"""VQ autoencoder (VQGAN, arXiv 2012.09841, as in latent diffusion): ResShift's latent space with the defaults, VQ-f4.

55.323 M parameters; 345.2 GFLOPs to encode and 670.8 to decode an image of 256x256.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn

from stages.models.latent_space import TrainedAutoencoder
from stages.models.ldm import Decoder, Encoder

DISTANCES: Final = 2**25
"""Distances between latents and codes that may exist at once: 128 MiB in float32."""


def full_precision(device_type: str) -> AbstractContextManager[object]:
    """No autocast inside; a device that has none (meta) has nothing to turn off."""
    available = torch.amp.is_autocast_available(device_type)
    return torch.autocast(device_type, enabled=False) if available else nullcontext()


@dataclass(frozen=True)
class Quantised:
    """Latents at their nearest codes.

    `latent` [B, C, h, w] has the value of the codes and the gradient of what was quantised (straight-through);
    `codes` int64 [B, h, w]. `codebook` moves codes to latents, `commitment` latents to codes: scalars, to be
    weighted by the training (VQ-VAE, arXiv 1711.00937, eq. 3).
    """

    latent: Tensor
    codes: Tensor
    codebook: Tensor
    commitment: Tensor


class VQAutoencoder(TrainedAutoencoder):
    """Image [B, 3, H, W] in [-1, 1] <-> latent [B, channels, H/factor, W/factor]; H and W are multiples of `factor`.

    The latent is what comes *before* quantisation, so diffusion runs in a continuous space; decoding
    quantises first. Latents have a variance of about one as they are: nothing scales them.
    """

    family = "vq"

    def __init__(
        self, *, channels: int = 3, codes: int = 8192, width: int = 128, multipliers: Sequence[int] = (1, 2, 4),
        blocks: int | Sequence[int] = 2, groups: int = 32,
    ) -> None:  # fmt: skip
        super().__init__()
        self.constructor = {
            "channels": channels, "codes": codes, "width": width, "multipliers": list(multipliers),
            "blocks": blocks if isinstance(blocks, int) else list(blocks), "groups": groups,
        }  # fmt: skip
        self.channels = channels
        self.factor = 2 ** (len(multipliers) - 1)
        self.encoder = Encoder(channels, width, multipliers, blocks, groups)
        self.to_latent = nn.Conv2d(channels, channels, 1)
        self.codebook = nn.Embedding(codes, channels)
        nn.init.uniform_(self.codebook.weight, -1 / codes, 1 / codes)
        self.from_latent = nn.Conv2d(channels, channels, 1)
        self.decoder = Decoder(channels, width, multipliers, blocks, groups)

    def encoding(self) -> Iterable[nn.Module]:
        return self.encoder, self.to_latent

    def encode(self, image: Tensor) -> Tensor:
        out: Tensor = self.to_latent(self.encoder(image))
        return out

    @torch.no_grad()
    def nearest(self, latent: Tensor) -> Tensor:
        """int64 [B, h, w]: the code closest to each position of latent [B, C, h, w]; float32 under any autocast."""
        batch, _, height, width = latent.shape
        with full_precision(latent.device.type):
            places = latent.float().permute(0, 2, 3, 1).reshape(-1, self.channels)
            book = self.codebook.weight.float()
            lengths = book.square().sum(1)
            rows = max(1, DISTANCES // len(book))
            found = [torch.addmm(lengths, part, book.T, alpha=-2).argmin(1) for part in torch.split(places, rows)]
        return torch.cat(found).reshape(batch, height, width)

    def quantise(self, latent: Tensor) -> Quantised:
        """Each position of latent [B, C, h, w] moved to its nearest code, and what training makes of it."""
        codes = self.nearest(latent)
        value = self.codebook(codes).permute(0, 3, 1, 2).to(latent.dtype)
        codebook = (value - latent.detach()).float().square().mean()
        commitment = (value.detach() - latent).float().square().mean()
        return Quantised(latent + (value - latent).detach(), codes, codebook, commitment)

    def decode(self, latent: Tensor, quantise: bool = True) -> Tensor:
        """The image of a latent, quantised first unless it already is."""
        if quantise:
            latent = self.quantise(latent).latent
        out: Tensor = self.decoder(self.from_latent(latent))
        return out

    def forward(self, image: Tensor) -> tuple[Tensor, Quantised]:
        """(reconstruction, quantisation) of an image: what training needs, in one call."""
        quantised = self.quantise(self.encode(image))
        return self.decode(quantised.latent, quantise=False), quantised
