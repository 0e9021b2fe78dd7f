"""A trained model as the target of an edge UNet: scale distillation, and that of answers.

YONOS-SR (Noroozi et al., arXiv 2401.17258), by the group that made Edge-SD-SR, trains a model of a small scale first,
whose task is easy, and then one of a larger scale on the answers of the first, each to its own LR image of the same
photograph; the target fits the noise level of the moment, which the photograph itself does not. Its abstract and
notes about it say so; formulas below are our reading.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from stages.models.edge.model import EdgeModel
from stages.models.registry import SuperResolver
from stages.models.resshift import ResShiftModel
from stages.training.method import Batch


class EdgeTeacher:
    """A frozen `model` of the student's latent space, for students that enlarge by `scale`.

    `scale` is a multiple of its own. Where it enlarges by less, its LR image is HR shrunk (bicubic, antialiased):
    easier than the student's, which may be degraded besides. Where it enlarges as much, it is the student's own.
    """

    def __init__(self, model: SuperResolver, scale: int, weight: float) -> None:
        if not isinstance(model, EdgeModel | ResShiftModel):
            raise TypeError(f"teacher: expected a model of family edge, resshift or one-step, got {model.family}")
        self.model, self.scale, self.weight = model.requires_grad_(False), scale, weight
        self.looks_at_hr = model.scale < scale

    @torch.no_grad()
    def answer(self, batch: Batch, z_h: Tensor, along: Tensor, noise: Tensor) -> Tensor:
        """Its z_h [B, C, H, W], float32; `along` [B] says how far along the process the student is, 0 to 1.

        An edge model is asked at the step of its own process that lies as far along, with the same noise. A ResShift
        model, whose process is another, is sampled as it is when it is used.
        """
        lr = self._lr(batch)
        z_l = self.model.encode_lr(lr).float()
        if isinstance(self.model, EdgeModel):
            process = self.model.process
            t = (along * process.last).round().long()
            return self.model.predict_x0(process.q_sample(z_h, z_l, t, noise), t, lr, z_l).float()
        return _sampled(self.model, batch, lr, z_l)

    def _lr(self, batch: Batch) -> Tensor:
        if not self.looks_at_hr:
            return batch.lr
        shrunk = interpolate(batch.hr, scale_factor=1 / self.model.scale, mode="bicubic", antialias=True)
        return shrunk.clamp(0, 1)


def _sampled(model: ResShiftModel, batch: Batch, lr: Tensor, zy: Tensor) -> Tensor:
    """The end of a ResShift chain, or of a one-step student's one step."""
    process = model.process.respaced(model.evaluations())

    def drawn(purpose: str, channels: int) -> Tensor:
        return batch.noise.normal(f"teacher/{purpose}", batch.samples, (channels, *zy.shape[2:])).to(zy)

    planes = drawn("planes", model.noise_channels) if model.noise_channels else None
    return process.sample(
        zy,
        lambda z, t: model.predict_x0(z, t, lr, zy, process, planes).float(),
        lambda k: drawn(str(k), zy.shape[1]),
    )
