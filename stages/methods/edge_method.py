"""What Edge-SD-SR's UNet minimises, alone and together with its LR encoder (Hadji et al., arXiv 2412.06978).

Both stages have one loss: from z_t, which a forward process that knows z_l has made of z_h, the network is to tell z_h.
Alone, z_l is the latent of the enlarged LR image by the HR autoencoder's encoder, which is frozen; together, it is what
the small LR encoder says, and the gradient reaches it by z_l and by z_t. z_h is of the frozen encoder always: that the
two encodings are decoupled is what lets the large one stay behind when the model ships.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from pipelines.stage import StageError
from stages.diffusion.timesteps import StepBias, uniforms
from stages.methods.latents import latents_of
from stages.models.autoencoders import Autoencoder
from stages.models.edge.model import EdgeModel
from stages.models.encoding import Precision, frozen_arithmetic
from stages.models.latent_space import TrainedAutoencoder
from stages.training.method import Batch, Losses, Phase

if TYPE_CHECKING:
    from stages.methods.edge_config import EdgeLatentConfig
    from stages.methods.edge_teacher import EdgeTeacher


class EdgeMethod:
    """One optimiser for what the model has of its own: the UNet, and the LR encoder where there is one."""

    def __init__(self, model: EdgeModel, config: EdgeLatentConfig, teacher: EdgeTeacher | None = None) -> None:
        self.model, self.teacher, self.precision = model, teacher, config.autoencoder_precision
        self.bias = StepBias(*config.schedule.exponents)
        self.networks: Mapping[str, nn.Module] = {"model": own_parts(model)}
        self.averaged: Mapping[str, float] = {"model": config.training.ema}
        self.phases: Sequence[Phase] = (Phase("model", ("model",), config.training, self.losses),)

    def losses(self, batch: Batch) -> Losses:
        """|| answer(z_t, t, z_l) - target ||^2, averaged over elements, the same weight for every t.

        The target is z_h, or v, as the process says. With a teacher of weight w the loss is that times 1 - w, plus w
        times the distance of the two models' z_h. ``schedule/exponent`` is the bias of the draw of t, and
        ``schedule/t`` the mean of t / (T - 1) that it led to. In validation the bias is that of the first step.
        """
        z_h, z_l = self._latents(batch)
        process = self.model.process
        t = self.bias.draw(uniforms(batch.noise, "t", batch.samples), batch.step, process.timesteps)
        noise = batch.noise.normal("forward", batch.samples, z_h.shape[1:]).to(z_h)
        z_t = process.q_sample(z_h, z_l, t, noise)
        answer = self.model.answer(z_t, t, z_l).float()
        loss = _mean_square(answer, process.target(z_h, z_l, t, noise))
        along = t.double() / max(process.last, 1)
        seen = {}
        if self.teacher is not None:
            taught = _mean_square(process.x0(z_t, t, answer), self.teacher.answer(batch, z_h, along, noise))
            seen = {"hr": loss, "teacher": taught}
            loss = (1 - self.teacher.weight) * loss + self.teacher.weight * taught
        seen |= {"schedule/t": loss.new_tensor(float(along.mean()))}
        seen |= {"schedule/exponent": loss.new_tensor(self.bias.exponent(batch.step))}
        return {"loss": loss, **seen}

    def _latents(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """(z_h, z_l), float32; the latter with a graph where an encoder is trained."""
        if self.model.encoder is None:
            return latents_of(batch, self.model, self.precision)
        return hr_latent(batch, self.model.autoencoder, self.precision), self.model.encode_lr(batch.lr).float()

    def preview(self, lr: Tensor, name: str) -> Tensor:
        return self.model.super_resolve(lr, name=name)


def own_parts(model: EdgeModel) -> nn.ModuleDict:
    """The parts of `model` that have weights, by the names that they have in its state dict."""
    names = ("encoder", "network", "decoder")
    return nn.ModuleDict({name: part for name in names if (part := getattr(model, name)) is not None})


@torch.no_grad()
def hr_latent(batch: Batch, autoencoder: Autoencoder, precision: Precision | None) -> Tensor:
    """z_h of `batch`, float32: that of its cache, or encoded here; on the CPU image by image, as caches are made."""
    if batch.latents is not None:
        return batch.latents[0].float()
    with frozen_arithmetic(batch.hr.device, precision):
        alone = isinstance(autoencoder, nn.Module) and batch.hr.device.type == "cpu"
        images = torch.split(batch.hr, 1 if alone else len(batch))
        return torch.cat([autoencoder.encode(2 * hr - 1).float() for hr in images]).contiguous()


def with_parts(first: EdgeModel, **changed: Any) -> EdgeModel:
    """A model like `first` but for the arguments of its constructor that are `changed`, around the same autoencoder.

    Parts whose arguments did not change have its weights, others begin anew. Raises StageError where they do not fit.
    """
    held = first.frozen.autoencoder if first.frozen is not None else None
    around = held if isinstance(held, TrainedAutoencoder) else first.constructor["autoencoder"]
    try:
        model = EdgeModel(**{**first.constructor, "autoencoder": around, **changed})
    except ValueError as error:
        raise StageError(str(error)) from error
    theirs = own_parts(first)
    for name, part in own_parts(model).items():
        if name not in changed:
            part.load_state_dict(theirs[name].state_dict())
    return model


def _mean_square(a: Tensor, b: Tensor) -> Tensor:
    return (a - b).float().square().mean()
