"""What ``train.edge_decoder`` minimises: images of the UNet's own answers against HR, and against a discriminator."""

from __future__ import annotations

from torch import Tensor

from stages.losses.combined import CombinedLoss
from stages.losses.discriminator import PatchDiscriminator
from stages.methods.edge_config import EdgeDecoderTrainConfig
from stages.methods.patch_critic import AgainstCritic
from stages.models.edge.answers import answer_shape, one_step_answers
from stages.models.edge.model import EdgeModel
from stages.training.method import Batch


class EdgeDecoderMethod(AgainstCritic):
    """Two networks, two optimisers: the decoder of `model`, all else of which is frozen, and the discriminator."""

    def __init__(
        self,
        model: EdgeModel,
        discriminator: PatchDiscriminator | None,
        difference: CombinedLoss,
        config: EdgeDecoderTrainConfig,
    ) -> None:
        self.model = model.requires_grad_(False)
        assert model.decoder is not None
        model.decoder.requires_grad_(True)
        decoder, critic = model.decoder, config.discriminator
        super().__init__("decoder", decoder, decoder, discriminator, difference, config.training, critic)

    def answer(self, batch: Batch) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """The decoded one-step answer, not clamped: what the decoder is given when the model is used, and no latent of
        HR, which it would never see."""
        image = self.model.decode(self.latent(batch)).float()
        return image, image.new_zeros(()), {}

    def latent(self, batch: Batch) -> Tensor:
        """The UNet's z_h of `batch`: that of its cache, or made here."""
        if batch.latents is not None:
            return batch.latents[0].float()
        noise = None
        if self.model.process.inference_k:
            shape = answer_shape(self.model, batch.lr)
            noise = batch.noise.normal("one-step", batch.samples, shape).to(batch.lr)
        return one_step_answers(self.model, batch.lr, noise)

    def preview(self, lr: Tensor, name: str) -> Tensor:
        sr = self.model.super_resolve(lr, name=name)
        self.last_layer.forget()
        return sr
