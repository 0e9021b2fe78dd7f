"""What the latents of a trained autoencoder look like: diffusion assumes a variance of about one, so it is measured."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import torch
from torch import Tensor

from pipelines.stage import JsonObject, StageError
from stages.models.latent_space import TrainedAutoencoder
from stages.models.vq import VQAutoencoder
from stages.training.loader import PairLoader

IMAGES: Final = 64
"""How many training samples are looked at, at least."""

USUAL: Final = (0.5, 2.0)
"""Deviations that a latent diffusion model takes as they are."""


@dataclass(frozen=True)
class LatentStatistics:
    """Mean and deviation of all numbers of `images` latents, and by channel; of VQ, codes in use and perplexity."""

    images: int
    mean: float
    std: float
    channel_means: tuple[float, ...]
    channel_stds: tuple[float, ...]
    codes_used: int | None = None
    perplexity: float | None = None

    @property
    def usual(self) -> bool:
        return USUAL[0] <= self.std <= USUAL[1]

    def times(self, scale: float) -> LatentStatistics:
        """Those of latents multiplied by `scale`."""
        means, stds = (tuple(scale * value for value in values) for values in (self.channel_means, self.channel_stds))
        return replace(self, mean=scale * self.mean, std=scale * self.std, channel_means=means, channel_stds=stds)

    def numbers(self) -> dict[str, float]:
        """What is one number, by name; digits beyond the sixth are no property of the space."""
        found = {name: getattr(self, name) for name in ("mean", "std", "codes_used", "perplexity")}
        return {name: _short(value) for name, value in found.items() if value is not None}

    def card(self) -> JsonObject:
        """For the model's card."""
        channels = {"channel_means": self.channel_means, "channel_stds": self.channel_stds}
        return {
            "images": self.images, **self.numbers(),
            **{name: [_short(value) for value in values] for name, values in channels.items()},
        }  # fmt: skip


@torch.no_grad()
def measure(autoencoder: TrainedAutoencoder, loader: PairLoader, device: str) -> LatentStatistics:
    """The latents of the first batches of training, :data:`IMAGES` samples or the batch that goes beyond.

    Raises StageError when they are all the same number.
    """
    size = loader.batch_size
    firsts = range(0, -(-IMAGES // size) * size, size)
    sums = torch.zeros(2, autoencoder.channels, dtype=torch.float64)
    counts, numbers = None, 0
    for first in firsts:
        latent = autoencoder.encode(2 * loader.batch(first).hr.to(device) - 1)
        if isinstance(autoencoder, VQAutoencoder):
            codes = autoencoder.nearest(latent).flatten().cpu()
            found = torch.bincount(codes, minlength=autoencoder.codebook.num_embeddings)
            counts = found if counts is None else counts + found
        values = latent.double().cpu()
        sums += torch.stack([values.sum((0, 2, 3)), values.square().sum((0, 2, 3))])
        numbers += values.numel() // autoencoder.channels
    means, squares = sums / numbers
    mean, square = means.mean(), squares.mean()
    std = float((square - mean**2).clamp_min(0).sqrt())
    if not std > 0:
        raise StageError(f"the latents of {len(firsts) * size} samples are all {float(mean):g}: nothing was learnt")
    return LatentStatistics(
        len(firsts) * size, float(mean), std,
        tuple(means.tolist()), tuple((squares - means**2).clamp_min(0).sqrt().tolist()),
        None if counts is None else int((counts > 0).sum()), None if counts is None else float(perplexity(counts)),
    )  # fmt: skip


def perplexity(counts: Tensor) -> Tensor:
    """exp of the entropy of codes that occur `counts` [..., codes] times: as many equally frequent codes would do."""
    share = counts.double() / counts.sum(-1, keepdim=True)
    entropy: Tensor = torch.special.entr(share).sum(-1)
    return entropy.exp()


def _short(value: float) -> float:
    return float(f"{value:.6g}")
