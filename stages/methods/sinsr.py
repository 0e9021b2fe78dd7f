"""``distill.sinsr``: consistency-preserving distillation (SinSR: Wang et al., CVPR 2024, arXiv 2311.14760).

A deterministic sampler makes of the teacher a map from z_T to z0 (`stages/diffusion/deterministic.py`). The student
learns this map in one step, its inverse under another time label, and by both of them the true image. Read from top
to bottom: the settings, the three losses (:class:`SinSRMethod`), and the stage. Equations and sections are the
paper's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from pydantic import NonNegativeFloat, NonNegativeInt

from pipelines.stage import Context
from stages.methods.distillation import Distillation, DistillConfig
from stages.training.config import TrainingConfig

if TYPE_CHECKING:
    from torch import Tensor, nn

    from stages.models.resshift import ResShiftModel
    from stages.training.method import Batch, Losses, Phase


class SinSRTraining(TrainingConfig):
    """As the authors trained: 5e-5 after a linear warm-up, batch 64, average 0.999. Thousands of steps suffice."""

    warmup: NonNegativeInt = 5000
    """Steps of linear warm-up from zero."""


class SinSRConfig(DistillConfig):
    """The paper's settings are the defaults; its "distill only" is `inverse: 0`, `ground_truth: 0`."""

    training: SinSRTraining = SinSRTraining()
    inverse: NonNegativeFloat = 1.0
    """Weight of the loss of the inverse map."""
    ground_truth: NonNegativeFloat = 1.0
    """Weight of the consistency-preserving loss, which wants the inverse."""


class SinSRMethod:
    """One network, one optimiser, three losses; the frozen teacher is run through its chain at every step."""

    def __init__(self, teacher: ResShiftModel, config: SinSRConfig) -> None:
        """The student starts from the teacher's weights, and takes no noise but that of z_T."""
        from stages.diffusion.deterministic import inverse
        from stages.models.one_step import OneStepModel
        from stages.training.method import Phase

        self.config, self.process, self.inverse_process = config, teacher.process, inverse(teacher.process)
        self.teacher = teacher.requires_grad_(False)
        self.student = OneStepModel.of_teacher(teacher, noise_channels=0)
        self.looks_at_hr = False
        self.networks: Mapping[str, nn.Module] = {"student": self.student}
        self.averaged: Mapping[str, float] = {"student": config.training.ema}
        self.phases: Sequence[Phase] = (Phase("student", ("student",), config.training, self.losses),)

    def losses(self, batch: Batch) -> Losses:
        """L_distill + L_inverse + L_gt, mean squares in latent space, all of weight 1 (equations 6 to 8):

        L_distill = || f(z_T, y, T) - F(z_T, y) ||^2
        L_inverse = || f(F(z_T, y), y, 0) - z_T ||^2
        L_gt      = || f(detach(f(z0, y, 0)), y, T) - z0 ||^2

        F is the teacher's deterministic chain. Neither it nor the inner f of L_gt takes a gradient.
        """
        import torch

        from stages.diffusion.deterministic import sample
        from stages.methods.latents import latents_of

        z0, zy = latents_of(batch, self.teacher, self.config.autoencoder_precision)
        z_T = self.process.prior(zy, batch.noise.normal("prior", batch.samples, zy.shape[1:]).to(zy))
        with torch.no_grad():
            made = sample(self.process, z_T, zy, lambda z, t: self.teacher.predict_x0(z, t, batch.lr, zy).float())
        losses = {"distillation": _mean_square(self.forward(z_T, batch.lr, zy), made)}
        total = losses["distillation"]
        if self.config.inverse:
            losses["inverse"] = _mean_square(self.backward(made, batch.lr, zy), z_T)
            total = total + self.config.inverse * losses["inverse"]
        if self.config.ground_truth:
            with torch.no_grad():
                before = self.backward(z0, batch.lr, zy)
            losses["ground_truth"] = _mean_square(self.forward(before, batch.lr, zy), z0)
            total = total + self.config.ground_truth * losses["ground_truth"]
        return {"loss": total, **losses}

    def forward(self, z_T: Tensor, lr: Tensor, zy: Tensor) -> Tensor:
        """f(z_T, y, T): z0 in one step."""
        import torch

        last = torch.full((len(zy),), self.process.timesteps - 1, dtype=torch.int64)
        return self.student.predict_x0(z_T, last, lr, zy).float()

    def backward(self, z0: Tensor, lr: Tensor, zy: Tensor) -> Tensor:
        """f(z0, y, 0): the z_T that leads to it."""
        import torch

        only = torch.zeros(len(zy), dtype=torch.int64)
        return self.student.predict_x0(z0, only, lr, zy, self.inverse_process).float()

    def preview(self, lr: Tensor, name: str) -> Tensor:
        return self.student.super_resolve(lr, name=name)


def _mean_square(a: Tensor, b: Tensor) -> Tensor:
    return (a - b).square().mean()


class DistillSinSR(Distillation):
    """Distil a ResShift teacher to one step by SinSR; the artifact holds the student's averaged weights."""

    name = "distill.sinsr"
    Config = SinSRConfig
    distilled = "sinsr"

    def method(self, ctx: Context, teacher: ResShiftModel) -> SinSRMethod:
        return SinSRMethod(teacher, ctx.config)
