"""What ``train.autoencoder`` minimises (VQGAN, Esser et al., arXiv 2012.09841; KL: arXiv 2112.10752)."""

from __future__ import annotations

import torch
from torch import Tensor

from stages.losses.combined import CombinedLoss
from stages.losses.discriminator import PatchDiscriminator
from stages.methods.autoencoder_config import AutoencoderConfig, KLNetwork, VQNetwork
from stages.methods.patch_critic import AgainstCritic, signed
from stages.models.latent_space import TrainedAutoencoder
from stages.models.padding import pad_to_multiple
from stages.training.latent_statistics import perplexity
from stages.training.method import Batch


class AutoencoderMethod(AgainstCritic):
    """Two networks, two optimisers: the autoencoder, and the discriminator that tells its answers from photographs."""

    def __init__(
        self,
        model: TrainedAutoencoder,
        discriminator: PatchDiscriminator | None,
        difference: CombinedLoss,
        config: AutoencoderConfig,
    ) -> None:
        self.model, self.config = model, config
        critic = config.discriminator
        super().__init__("autoencoder", model, model.decoder, discriminator, difference, config.training, critic)

    def answer(self, batch: Batch) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """(reconstruction [B, 3, H, W] in about [-1, 1] and float32, cost of the bottleneck, observations)."""
        image, network = signed(batch), self.config.network
        if isinstance(network, VQNetwork):
            answer, quantised = self.model(image)
            cost = network.codebook_weight * (quantised.codebook + network.commitment * quantised.commitment)
            counts = _counts(quantised.codes, network.codes)
            return answer.float(), cost, {"codebook": quantised.codebook, "perplexity": perplexity(counts).mean()}
        if isinstance(network, KLNetwork):
            factor = self.model.factor
            shape = (self.model.channels, image.shape[2] // factor, image.shape[3] // factor)
            noise = batch.noise.normal("posterior", batch.samples, shape).to(image)
            answer, posterior = self.model(image, noise)
            divergence = posterior.divergence().mean() / image[0].numel()
            return answer.float(), network.divergence_weight * divergence, {"divergence": divergence}
        answer = self.model(image).float()
        return answer, answer.new_zeros(()), {}

    def preview(self, lr: Tensor, name: str) -> Tensor:
        """What is given back of an image [3, H, W] in [0, 1] of any size, without noise; HR images are its LR."""
        height, width = lr.shape[-2:]
        image = pad_to_multiple(2 * lr[None] - 1, self.model.factor)
        answer = self.model.decode(self.model.encode(image))[0, :, :height, :width]
        self.last_layer.forget()
        return ((answer + 1) / 2).clamp(0, 1)


def _counts(codes: Tensor, size: int) -> Tensor:
    """How often each of `size` codes occurs in each image: int64 [B, h, w] -> float32 [B, size]."""
    places = codes.flatten(1)
    return torch.zeros(len(codes), size, device=codes.device).scatter_add_(1, places, torch.ones_like(places).float())
