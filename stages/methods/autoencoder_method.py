"""What ``train.autoencoder`` minimises (VQGAN, Esser et al., arXiv 2012.09841; KL: arXiv 2112.10752)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from stages.losses.adversarial import adaptive_weights, discriminator_loss, generator_loss
from stages.losses.combined import CombinedLoss
from stages.losses.discriminator import PatchDiscriminator
from stages.methods.autoencoder_config import AutoencoderConfig, KLNetwork, VQNetwork
from stages.models.latent_space import TrainedAutoencoder
from stages.models.padding import pad_to_multiple
from stages.training.latent_statistics import perplexity
from stages.training.method import Batch, Losses, Phase


class AutoencoderMethod:
    """Two networks, two optimisers: the autoencoder, and the discriminator that tells its answers from photographs.

    Neither loss leaves a gradient in the other's weights. Every loss is a mean of one value an image, so that ranks and
    micro-batches change nothing but rounding.
    """

    def __init__(
        self,
        model: TrainedAutoencoder,
        discriminator: PatchDiscriminator | None,
        difference: CombinedLoss,
        config: AutoencoderConfig,
    ) -> None:
        self.model, self.discriminator, self.difference, self.config = model, discriminator, difference, config
        self.last_layer = LastLayer(model)
        networks: dict[str, nn.Module] = {"autoencoder": model}
        phases = [Phase("autoencoder", ("autoencoder",), config.training, self.autoencoder_losses)]
        if discriminator is not None and config.discriminator is not None:
            networks["discriminator"] = discriminator
            settings = config.discriminator
            phases.append(
                Phase("discriminator", ("discriminator",), settings, self.discriminator_losses, start=settings.start)
            )
        self.networks: Mapping[str, nn.Module] = networks
        self.averaged: Mapping[str, float] = {"autoencoder": config.training.ema}
        self.phases: Sequence[Phase] = tuple(phases)

    def autoencoder_losses(self, batch: Batch) -> Losses:
        """difference(image, answer) + what the bottleneck costs + weight * lambda * adversarial.

        The last from the discriminator's first step on, and only where there are gradients, which lambda is made
        of: not in validation.
        """
        answer, cost, seen = self.answer(batch)
        found = self.difference(answer, _signed(batch))
        reconstruction = found.pop("total")
        losses = {"reconstruction": reconstruction, **found, **seen}
        loss = reconstruction + cost
        settings = self.config.discriminator
        if settings is not None and batch.step >= settings.start and torch.is_grad_enabled():
            adversarial, weights = self._adversarial(answer, reconstruction)
            loss = loss + settings.weight * (weights * adversarial).mean()
            losses |= {"adversarial": adversarial.mean(), "adaptive_weight": weights.mean()}
        self.last_layer.forget()
        return {"loss": loss, **losses}

    def _adversarial(self, answer: Tensor, reconstruction: Tensor) -> tuple[Tensor, Tensor]:
        """(adversarial loss, its adaptive weight) of each image, both [B]."""
        assert self.discriminator is not None
        assert self.config.discriminator is not None
        with constant(self.discriminator):
            logits = self.discriminator(answer)
        kind = self.config.discriminator.loss
        adversarial = torch.stack([generator_loss(kind, of_one) for of_one in logits])
        layer, features = self.last_layer.layer, self.last_layer.features()
        weights = adaptive_weights(len(answer) * reconstruction, adversarial.sum(), answer, features, layer)
        return adversarial, weights

    def discriminator_losses(self, batch: Batch) -> Losses:
        """What it gets wrong about photographs and answers; `real` and `fake` are its mean logits."""
        assert self.discriminator is not None
        assert self.config.discriminator is not None
        with torch.no_grad():
            answer = self.answer(batch)[0]
            self.last_layer.forget()
        real, fake = self.discriminator(_signed(batch)), self.discriminator(answer)
        loss = discriminator_loss(self.config.discriminator.loss, real, fake)
        return {"loss": loss, "real": real.float().mean(), "fake": fake.float().mean()}

    def answer(self, batch: Batch) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """(reconstruction [B, 3, H, W] in about [-1, 1] and float32, cost of the bottleneck, observations)."""
        image, network = _signed(batch), self.config.network
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


class LastLayer:
    """The last convolution of an autoencoder's decoder, and what went into it last."""

    def __init__(self, model: TrainedAutoencoder) -> None:
        *_, layer = (module for module in model.decoder.modules() if isinstance(module, nn.Conv2d))
        self.layer = layer
        self._features: Tensor | None = None
        layer.register_forward_pre_hook(self._keep)

    def _keep(self, module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        self._features = inputs[0]

    def features(self) -> Tensor:
        """[B, C, H, W], since the last call of the model."""
        assert self._features is not None, "the model has not been called"
        return self._features

    def forget(self) -> None:
        """Let go of the memory."""
        self._features = None


@contextmanager
def constant(network: nn.Module) -> Iterator[None]:
    """What `network` computes inside passes gradients on to its input and leaves none in its weights."""
    weights = [weight for weight in network.parameters() if weight.requires_grad]
    for weight in weights:
        weight.requires_grad_(False)
    try:
        yield
    finally:
        for weight in weights:
            weight.requires_grad_(True)


def _signed(batch: Batch) -> Tensor:
    return 2 * batch.hr - 1


def _counts(codes: Tensor, size: int) -> Tensor:
    """How often each of `size` codes occurs in each image: int64 [B, h, w] -> float32 [B, size]."""
    places = codes.flatten(1)
    return torch.zeros(len(codes), size, device=codes.device).scatter_add_(1, places, torch.ones_like(places).float())
