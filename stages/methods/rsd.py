"""``distill.rsd``: Residual Shifting Distillation (Selikhanovych et al., ICML 2026, arXiv 2503.13358).

A ResShift teacher f* answers in T steps. RSD trains a generator G that answers in one, so that a ResShift model
trained on G's answers would be the teacher itself: then the answers have the distribution of the teacher's data.
Read from top to bottom: the settings, the loss (:func:`distillation_loss`), what is minimised by turns
(:class:`RSDMethod`: the fake model K times, the student once), and the stage. Equations are the paper's, which writes
t = 1..T where the code counts from 0. The chain itself is `stages/diffusion/resshift.py`, the networks are
`stages/models/one_step.py` and `critic.py`, everything that any training has in common is in `stages/training/`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveInt, field_validator

from pipelines.stage import Context, Input, InputFacets, Output, StageError, facets_of
from stages.losses.config import PERCEPTUAL_INPUT, LossList, require_lpips
from stages.methods.distillation import Distillation, DistillConfig
from stages.training.config import OptimiserConfig, TrainingConfig

if TYPE_CHECKING:
    from torch import Tensor, nn

    from stages.diffusion.resshift import ResShift
    from stages.losses.combined import CombinedLoss
    from stages.models.resshift import ResShiftModel
    from stages.training.method import Batch, Losses, Phase


class RSDTraining(TrainingConfig):
    """As the authors trained (appendix C): AdamW at a constant 5e-5, batch 64, average 0.999."""

    betas: tuple[float, float] = (0.9, 0.95)


class FakeOptimiser(OptimiserConfig):
    """That of the fake model and its head, which the authors gave the student's settings."""

    betas: tuple[float, float] = (0.9, 0.95)


class RSDConfig(DistillConfig):
    """The paper's settings are the defaults, with `losses: [{kind: lpips, weight: 2, trunk: alex}]` (lambda_1).

    =======================  ===============================================================================
    RSD with K = 5           as above; 3,000 steps of batch 64 (appendix C)
    RSD with K = 1           the same with `fake_updates: 1`: as good, in half the time (appendix H)
    distill only             no `losses`, `gan: 0`; wants `fake_updates` of 3 or more (figure 9)
    ResShift-VSD             `variant: vsd`, `nodes: 1`, `noise_channels: 0` (appendix A.1)
    =======================  ===============================================================================
    """

    training: RSDTraining = RSDTraining()
    variant: Literal["rsd", "vsd"] = "rsd"
    """`vsd` lets no gradient through the networks' inputs, which is another loss: variational score distillation."""
    fake_updates: PositiveInt = 5
    """K: updates of the fake model for each of the student, every one on a fresh batch."""
    nodes: PositiveInt | Annotated[tuple[NonNegativeInt, ...], Field(min_length=1)] = 4
    """Steps of the chain that the student learns to answer from: how many (N, evenly spaced), or which, counted from
    0 and ending with the last. Inference is from the last alone."""
    noise_channels: NonNegativeInt = 1
    """Planes of noise that the student is given beside z_t."""
    normalise: bool = True
    """The distillation loss of a sample is divided by the mean distance of the teacher's answer from the student's."""
    losses: LossList | None = None
    """Supervised losses of the decoded one-step answer against HR; `lpips` needs weights, the input `perceptual`."""
    gan: NonNegativeFloat = 3e-3
    """lambda_2, the weight of the adversarial loss in both phases; 0 for none."""
    fake: FakeOptimiser | None = None
    """Optimiser of the fake model and its head; left out, that of the student."""

    @field_validator("nodes")
    @classmethod
    def _ascend(cls, nodes: int | tuple[int, ...]) -> int | tuple[int, ...]:
        if isinstance(nodes, tuple) and list(nodes) != sorted(set(nodes)):
            raise ValueError(f"expected steps in ascending order, each once, got {list(nodes)}")
        return nodes


def distillation_loss(
    x0: Tensor,
    z_t: Tensor,
    teacher: Callable[[Tensor], Tensor],
    fake: Callable[[Tensor], Tensor],
    *,
    stop_gradient: bool = False,
    normalise: bool = True,
) -> Tensor:
    """Of each sample [B], what the student minimises: L_theta of equation 9 in the form of proposition 3.1, w_t = 1.

    `x0` [B, C, H, W] are the student's answers and `z_t` the same re-noised (equation 4), both with their graph;
    `teacher` and `fake` tell x0 from z_t, with weights that take no gradient. The gradient reaches the student
    through x0 and, by way of both networks, through z_t. With the best fake model it is that of

        L_theta = sum_t E || f_G(z_t) - f*(z_t) ||^2                                                        (Eq. 9)

    although f_G, which the fake model stands for, depends on the student too: at a maximum over phi that part of
    the gradient is zero. `stop_gradient` leaves out the way through z_t, and then it is not: what remains,
    2 <f_phi - f*, x0>, is the gradient of variational score distillation (appendix A.1).
    """
    if stop_gradient:
        z_t = z_t.detach()
    of_teacher, of_fake, x0 = teacher(z_t).float(), fake(z_t).float(), x0.float()
    bracket = (of_teacher - x0).square() - (of_fake - x0).square()  # proposition 3.1, as a difference of squares
    loss = bracket.mean((1, 2, 3))
    if normalise:  # as in SiD (arXiv 2404.04057): samples pull alike, at whatever t
        loss = loss / ((of_teacher - x0).detach().abs().mean((1, 2, 3)) + 1e-8)
    return loss


class RSDMethod:
    """Three networks: the frozen teacher f*, the student G, and the fake model f_phi with a discriminator head."""

    def __init__(self, teacher: ResShiftModel, config: RSDConfig, image_losses: CombinedLoss | None = None) -> None:
        """All start from the teacher's weights; `image_losses` compare images in [-1, 1]. The head is drawn from
        torch's generator."""
        import torch

        from stages.models.critic import Critic
        from stages.models.one_step import OneStepModel
        from stages.training.method import Phase

        self.config, self.process = config, teacher.process
        self.nodes = torch.tensor(nodes_of(teacher.process, config.nodes))
        self.teacher = teacher.requires_grad_(False)
        self.student = OneStepModel.of_teacher(teacher, config.noise_channels)
        self.fake = Critic(teacher, judges=config.gan > 0)
        self.image_losses, self.looks_at_hr = image_losses, image_losses is not None
        self.networks: Mapping[str, nn.Module] = {"student": self.student, "fake": self.fake}
        self.averaged: Mapping[str, float] = {"student": config.training.ema}
        optimiser = config.fake or config.training
        self.phases: Sequence[Phase] = (
            Phase("fake", ("fake",), optimiser, self.fake_losses, repeats=config.fake_updates),
            Phase("student", ("student",), config.training, self.student_losses),
        )

    def fake_losses(self, batch: Batch) -> Losses:
        """f_phi learns what a ResShift model of the student's answers would be, and D_psi to tell these from HR.

            min_phi  E || f_phi(z_t, y, t) - x0 ||^2,  t ~ U{1..T}, z_t ~ q(z_t | x0, z_y)                   (Eq. 7)
            min_psi  lambda_2 E [ softplus(D(x0)) + softplus(-D(z0)) ]                                       (Eq. 12)

        The head's gradient goes on into the encoder of f_phi.
        """
        from torch.nn.functional import softplus

        _only(self.fake, self.student)
        z0, zy = self.latents(batch)
        x0 = self.answer(batch, z0, zy)
        z_t, t = self.renoised(batch, x0, zy)
        error = self.fake.predict_x0(z_t, t, batch.lr, zy).float() - x0.float()
        losses = {"x0": error.square().mean()}
        total = losses["x0"]
        if self.config.gan:
            real, fake = self.fake.logits(z0, batch.lr), self.fake.logits(x0, batch.lr)
            losses["discriminator"] = (softplus(fake.float()) + softplus(-real.float())).mean()
            total = total + self.config.gan * losses["discriminator"]
        return {"loss": total, **losses}

    def student_losses(self, batch: Batch) -> Losses:
        """min_theta  L_theta + lambda_1 L_LPIPS + lambda_2 L_GAN                                            (Eq. 13)

        L_theta and L_GAN = E softplus(-D(x0)), the non-saturating form of equation 12, see the answers from all
        nodes; L_LPIPS, or what else `losses` names, the decoded answer from T, as at inference.
        """
        from torch.nn.functional import softplus

        _only(self.student, self.fake)
        z0, zy = self.latents(batch)
        x0 = self.answer(batch, z0, zy)
        z_t, t = self.renoised(batch, x0, zy)
        losses = {
            "distillation": distillation_loss(
                x0, z_t,
                teacher=lambda z: self.teacher.predict_x0(z, t, batch.lr, zy),
                fake=lambda z: self.fake.predict_x0(z, t, batch.lr, zy),
                stop_gradient=self.config.variant == "vsd", normalise=self.config.normalise,
            ).mean()
        }  # fmt: skip
        total = losses["distillation"]
        if self.config.gan:
            losses["generator"] = softplus(-self.fake.logits(x0, batch.lr).float()).mean()
            total = total + self.config.gan * losses["generator"]
        if self.image_losses is not None:
            found = self.image_losses(self.decoded_answer(batch, zy), 2 * batch.hr - 1)
            total = total + found.pop("total")
            losses |= found
        return {"loss": total, **losses}

    def latents(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """(z0, z_y) of HR and of the enlarged LR image."""
        from stages.methods.latents import latents_of

        return latents_of(batch, self.teacher, self.config.autoencoder_precision)

    def answer(self, batch: Batch, z0: Tensor, zy: Tensor) -> Tensor:
        """x0 = G(z_n, y, n, eps) from a random node n, with z_n ~ q(z_n | z0, z_y) of the *true* z0 (section 3.3)."""
        n = self.nodes[batch.noise.integers("node", batch.samples, len(self.nodes))]
        noise = batch.noise.normal("forward", batch.samples, z0.shape[1:]).to(z0)
        z_n = self.process.q_sample(z0, zy, n, noise)
        return self.student.predict_x0(z_n, n, batch.lr, zy, planes=self.planes(batch, "planes", zy)).float()

    def renoised(self, batch: Batch, x0: Tensor, zy: Tensor) -> tuple[Tensor, Tensor]:
        """z_t ~ q(z_t | x0, z_y) of the student's answer (equation 4), at t uniform over the chain; not detached."""
        t = batch.noise.integers("t", batch.samples, self.process.timesteps)
        noise = batch.noise.normal("renoise", batch.samples, zy.shape[1:]).to(zy)
        return self.process.q_sample(x0, zy, t, noise), t

    def decoded_answer(self, batch: Batch, zy: Tensor) -> Tensor:
        """The picture, in [-1, 1], of the student's answer from the prior, as at inference (section 3.4)."""
        from stages.methods.latents import decoded

        z_T = self.process.prior(zy, batch.noise.normal("prior", batch.samples, zy.shape[1:]).to(zy))
        last = self.nodes[-1].expand(len(zy))
        planes, precision = self.planes(batch, "prior planes", zy), self.config.autoencoder_precision
        return decoded(self.student.predict_x0(z_T, last, batch.lr, zy, planes=planes), self.teacher, precision)

    def planes(self, batch: Batch, name: str, zy: Tensor) -> Tensor | None:
        """eps: the student's noise, fresh for every sample."""
        shape = (self.config.noise_channels, *zy.shape[-2:])
        return batch.noise.normal(name, batch.samples, shape).to(zy) if shape[0] else None

    def preview(self, lr: Tensor, name: str) -> Tensor:
        return self.student.super_resolve(lr, name=name)


def nodes_of(process: ResShift, nodes: int | tuple[int, ...]) -> tuple[int, ...]:
    """The steps 0..T-1 that the student learns to answer from; the last is T-1, where inference starts.

    N nodes are those of the process respaced to N steps: {3, 7, 11, 14} for N = 4 and T = 15 (the paper states N,
    not the nodes). Raises StageError for nodes that the process does not have.
    """
    _refuse_unfit_nodes(nodes, process.timesteps)
    return nodes if isinstance(nodes, tuple) else process.respaced(nodes).labels


def _refuse_unfit_nodes(nodes: int | tuple[int, ...], timesteps: int) -> None:
    last = timesteps - 1
    if isinstance(nodes, tuple) and nodes[-1] != last:
        raise StageError(f"nodes: expected steps up to {last}, the last of the teacher's process; got {list(nodes)}")
    if isinstance(nodes, int) and nodes > timesteps:
        raise StageError(f"nodes: expected at most {timesteps}, the steps of the teacher's process; got {nodes}")


def _only(trained: nn.Module, frozen: nn.Module) -> None:
    """For this phase: gradients are kept for the weights of `trained` and not for those of `frozen`, whose inputs
    receive theirs all the same. Nothing is put back: blocks that run again in the backward pass must meet the same."""
    trained.requires_grad_(True)
    frozen.requires_grad_(False)


class DistillRSD(Distillation):
    """Distil a ResShift teacher to one step by RSD; the artifact holds the student's averaged weights."""

    name = "distill.rsd"
    Config = RSDConfig
    distilled = "rsd"
    inputs: ClassVar[Mapping[str, Input]] = {**Distillation.inputs, "perceptual": PERCEPTUAL_INPUT}

    @classmethod
    def outputs(cls, config: Any, inputs: InputFacets) -> Mapping[str, Output]:
        require_lpips(config.losses or (), inputs)
        timesteps = facets_of(inputs, "teacher").get("timesteps")
        if isinstance(timesteps, int):
            _refuse_unfit_nodes(config.nodes, timesteps)
        return super().outputs(config, inputs)

    def method(self, ctx: Context, teacher: ResShiftModel) -> RSDMethod:
        from stages.losses.connected import connected_losses

        config: RSDConfig = ctx.config
        if not config.losses and not config.gan and config.fake_updates == 1:
            ctx.log.warning("fake_updates: 1 with neither losses nor gan is unstable (figure 9); 3 or more are not")
        if config.losses is None:
            return RSDMethod(teacher, config)
        device = next(teacher.parameters()).device
        return RSDMethod(teacher, config, connected_losses(ctx.inputs, config.losses).to(device))
