"""Images given back against a patch discriminator (VQGAN, Esser et al., arXiv 2012.09841): of autoencoders, decoders.

A method says what it answers for an image and which weights are trained for it; here is what it is held to: losses that
compare, and a discriminator that tells its answers from photographs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from pipelines.stage import Context, StageError
from stages.losses.adversarial import adaptive_weights, discriminator_loss, generator_loss
from stages.losses.combined import CombinedLoss
from stages.losses.config import LossList
from stages.losses.connected import connected_losses
from stages.losses.discriminator import PatchDiscriminator
from stages.methods.autoencoder_config import DiscriminatorConfig
from stages.training.config import TrainingConfig
from stages.training.method import Batch, Losses, Phase

if TYPE_CHECKING:
    from stages.training.config import TrainConfig


class AgainstCritic:
    """Two networks, two optimisers: what answers (`name`), and the discriminator. Base of methods.

    Neither loss leaves a gradient in the other's weights. Every loss is a mean of one value an image, so that ranks and
    micro-batches change nothing but rounding.
    """

    def __init__(
        self,
        name: str,
        trained: nn.Module,
        decoder: nn.Module,
        discriminator: PatchDiscriminator | None,
        difference: CombinedLoss,
        training: TrainingConfig,
        settings: DiscriminatorConfig | None,
    ) -> None:
        """`trained` is the network called `name`, and `decoder` what makes pixels in it."""
        self.discriminator, self.difference, self.settings = discriminator, difference, settings
        self.last_layer = LastLayer(decoder)
        networks: dict[str, nn.Module] = {name: trained}
        phases = [Phase(name, (name,), training, self.generator_losses)]
        if discriminator is not None and settings is not None:
            networks["discriminator"] = discriminator
            phases.append(
                Phase("discriminator", ("discriminator",), settings, self.discriminator_losses, start=settings.start)
            )
        self.networks: Mapping[str, nn.Module] = networks
        self.averaged: Mapping[str, float] = {name: training.ema}
        self.phases: Sequence[Phase] = tuple(phases)

    def answer(self, batch: Batch) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """(image [B, 3, H, W] in about [-1, 1] and float32, what it costs besides, observations)."""
        raise NotImplementedError(f"{type(self).__qualname__}.answer")

    def generator_losses(self, batch: Batch) -> Losses:
        """difference(image, answer) + what the answer costs + weight * lambda * adversarial.

        The last from the discriminator's first step on, and only where there are gradients, which lambda is made
        of: not in validation.
        """
        answer, cost, seen = self.answer(batch)
        found = self.difference(answer, signed(batch))
        reconstruction = found.pop("total")
        losses = {"reconstruction": reconstruction, **found, **seen}
        loss = reconstruction + cost
        settings = self.settings
        if settings is not None and batch.step >= settings.start and torch.is_grad_enabled():
            adversarial, weights = self._adversarial(answer, reconstruction, settings)
            loss = loss + settings.weight * (weights * adversarial).mean()
            losses |= {"adversarial": adversarial.mean(), "adaptive_weight": weights.mean()}
        self.last_layer.forget()
        return {"loss": loss, **losses}

    def _adversarial(
        self, answer: Tensor, reconstruction: Tensor, settings: DiscriminatorConfig
    ) -> tuple[Tensor, Tensor]:
        """(adversarial loss, its adaptive weight) of each image, both [B]."""
        assert self.discriminator is not None
        with constant(self.discriminator):
            logits = self.discriminator(answer)
        adversarial = torch.stack([generator_loss(settings.loss, of_one) for of_one in logits])
        layer, features = self.last_layer.layer, self.last_layer.features()
        weights = adaptive_weights(len(answer) * reconstruction, adversarial.sum(), answer, features, layer)
        return adversarial, weights

    def discriminator_losses(self, batch: Batch) -> Losses:
        """What it gets wrong about photographs and answers; `real` and `fake` are its mean logits."""
        assert self.discriminator is not None
        assert self.settings is not None
        with torch.no_grad():
            answer = self.answer(batch)[0]
            self.last_layer.forget()
        real, fake = self.discriminator(signed(batch)), self.discriminator(answer)
        loss = discriminator_loss(self.settings.loss, real, fake)
        return {"loss": loss, "real": real.float().mean(), "fake": fake.float().mean()}


class LastLayer:
    """The last convolution of a decoder, and what went into it last."""

    def __init__(self, decoder: nn.Module) -> None:
        *_, layer = (module for module in decoder.modules() if isinstance(module, nn.Conv2d))
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


def signed(batch: Batch) -> Tensor:
    """HR images [B, 3, H, W] in [-1, 1]."""
    return 2 * batch.hr - 1


def new_discriminator(settings: DiscriminatorConfig | None) -> PatchDiscriminator | None:
    if settings is None:
        return None
    return PatchDiscriminator(width=settings.width, layers=settings.layers, norm="group")


def image_losses(
    ctx: Context, losses: LossList, settings: DiscriminatorConfig | None, side: tuple[int, int], pixel: int = 1
) -> CombinedLoss:
    """`losses` of images in [-1, 1], on the stage's device. Raises StageError where samples of `side` (height, width)
    are too small for them or for the discriminator; `pixel` is how many of them one pixel of data.patch makes."""
    unit = "HR pixels" if pixel == 1 else f"LR pixels, {pixel} times fewer"
    if settings is not None and min(side) < (least := 3 * 2**settings.layers):
        raise StageError(
            f"discriminator: {settings.layers} layers take images of at least {least} pixels a side, got "
            f"{min(side)}; use fewer layers, or a larger data.patch"
        )
    difference = connected_losses(ctx.inputs, losses)
    blank = torch.zeros(1, 3, *side)
    try:
        difference(blank, blank)
    except ValueError as error:
        raise StageError(f"losses: {error} (data.patch is in {unit})") from error
    return difference.to(device_of(ctx))


def device_of(ctx: Context) -> str:
    """Where a training stage computes, by its config."""
    config: TrainConfig = ctx.config
    return ctx.devices[0] if config.device == "cuda" else "cpu"
