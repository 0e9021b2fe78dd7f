"""KL autoencoder of latent diffusion (arXiv 2112.10752): with the defaults the shape of Stable Diffusion's, KL-f8.

83.654 M parameters.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from stages.models.latent_space import TrainedAutoencoder
from stages.models.ldm import Decoder, Encoder


@dataclass(frozen=True)
class Gaussian:
    """A diagonal Gaussian over latents: `mean` and `log_variance` [B, C, h, w], not yet scaled."""

    mean: Tensor
    log_variance: Tensor

    def sample(self, noise: Tensor) -> Tensor:
        """mean + std * noise, for standard normal `noise` of the same shape."""
        return self.mean + (0.5 * self.log_variance).exp() * noise

    def divergence(self) -> Tensor:
        """KL divergence from the standard normal [B], summed over a sample's elements, in nats."""
        terms = self.mean.square() + self.log_variance.exp() - 1 - self.log_variance
        return 0.5 * terms.float().flatten(1).sum(1)


class KLAutoencoder(TrainedAutoencoder):
    """Image [B, 3, H, W] in [-1, 1] <-> latent [B, channels, H/factor, W/factor]; H and W are multiples of `factor`.

    `encode` gives the mean of the posterior (which is its mode too) times `scale`, so a latent is a function
    of the image; `posterior` is there for training and for who wants samples.
    """

    family = "kl"

    def __init__(
        self, *, channels: int = 4, width: int = 128, multipliers: Sequence[int] = (1, 2, 4, 4),
        blocks: int | Sequence[int] = 2, groups: int = 32, scale: float = 0.18215,
    ) -> None:  # fmt: skip
        super().__init__()
        self.constructor = {
            "channels": channels, "width": width, "multipliers": list(multipliers),
            "blocks": blocks if isinstance(blocks, int) else list(blocks), "groups": groups, "scale": scale,
        }  # fmt: skip
        self.channels = channels
        self.scale = scale
        self.factor = 2 ** (len(multipliers) - 1)
        self.encoder = Encoder(2 * channels, width, multipliers, blocks, groups)
        self.to_latent = nn.Conv2d(2 * channels, 2 * channels, 1)
        self.from_latent = nn.Conv2d(channels, channels, 1)
        self.decoder = Decoder(channels, width, multipliers, blocks, groups)

    def encoding(self) -> Iterable[nn.Module]:
        return self.encoder, self.to_latent

    def posterior(self, image: Tensor) -> Gaussian:
        """The distribution of the image's latent; log variances are kept in [-30, 20]."""
        mean, log_variance = self.to_latent(self.encoder(image)).chunk(2, dim=1)
        return Gaussian(mean, log_variance.clamp(-30, 20))

    def rescale(self, scale: float) -> None:
        """From now on latents are `scale` times what the encoder gives; one over its deviation makes theirs one."""
        self.scale = self.constructor["scale"] = scale

    def encode(self, image: Tensor) -> Tensor:
        return self.posterior(image).mean * self.scale

    def decode(self, latent: Tensor) -> Tensor:
        out: Tensor = self.decoder(self.from_latent(latent / self.scale))
        return out

    def forward(self, image: Tensor, noise: Tensor) -> tuple[Tensor, Gaussian]:
        """(reconstruction from a sample of the posterior, the posterior): what training needs, in one call."""
        posterior = self.posterior(image)
        return self.decode(posterior.sample(noise) * self.scale), posterior
