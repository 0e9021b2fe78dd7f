"""The ``with:`` sections of Edge-SD-SR's stages. Light: pydantic only, because `validate` loads it.

Edge-SD-SR: Hadji et al., arXiv 2412.06978, CVPR 2025. By its abstract, UNet and LR encoder are trained together, HR and
LR encodings are decoupled, a schedule is dedicated to that, and the decoder is finetuned on what the UNet answers.
How long, at which rates, against which losses: its body could not be read, and the defaults here are ours.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from pipelines.stage import Config
from stages.losses.config import L1, Gradient, LossList, Ssim
from stages.methods.autoencoder_config import DiscriminatorConfig
from stages.methods.training_stage import InLatentsConfig
from stages.models.edge.config import (
    BidirectionalConfig,
    EdgeDecoderConfig,
    EdgeEncoderConfig,
    EdgeNetworkConfig,
    StepBiasConfig,
)
from stages.training.config import TrainConfig, TrainingConfig


class EdgeLatentConfig(InLatentsConfig):
    """What the stages share whose loss is one of latents."""

    schedule: StepBiasConfig = StepBiasConfig()
    """Which steps of the process a training step looks at."""


class TeacherConfig(Config):
    """How the model of the input `teacher` is listened to (`stages/methods/edge_teacher.py`)."""

    weight: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Of the distance from the teacher's answer; that from HR has the rest. 1 is YONOS-SR's (arXiv 2401.17258)."""


class EdgeUNetConfig(EdgeLatentConfig):
    network: EdgeNetworkConfig = EdgeNetworkConfig()
    process: BidirectionalConfig = BidirectionalConfig()
    residual: bool = True
    """The UNet's answer is added to the LR latent, so that training starts at the bicubic image. Not for weights of
    Stable Diffusion, and not with `prediction: v`."""
    autoencoder: Literal["space-to-depth", "artifact"] = "artifact"
    """The latent space: that of the trained autoencoder connected to the input `autoencoder`, which is not trained
    further, or blocks of pixels folded into channels at LR resolution."""
    teacher: TeacherConfig | None = None
    """With the input `teacher`: a model of the same latent space whose answers are the target."""

    @model_validator(mode="after")
    def _residual_is_of_x0(self) -> EdgeUNetConfig:
        if self.residual and self.process.prediction == "v":
            raise ValueError("residual: adds z_l to an answer that is z_h; with prediction: v set it to false")
        return self


class EdgeJointConfig(EdgeLatentConfig):
    lr_encoding: Literal["separate", "shared"] = "separate"
    """`shared` goes on without an encoder of LR's own, as in the stage before: an ablation."""
    encoder: EdgeEncoderConfig = EdgeEncoderConfig()
    """The LR encoder, where encodings are separate. It begins anew."""
    schedule: StepBiasConfig = StepBiasConfig(kind="biased")
    """Biased to the end at first: there the LR latent is all that the UNet is told."""


class DecoderTraining(TrainingConfig):
    """Optimiser of the decoder."""

    learning_rate: PositiveFloat = 1e-4
    betas: tuple[float, float] = (0.5, 0.9)
    batch_size: PositiveInt = 16


class EdgeDecoderTrainConfig(TrainConfig):
    decoder: EdgeDecoderConfig = EdgeDecoderConfig()
    losses: LossList = (L1(kind="l1"), Ssim(kind="ssim", weight=0.2), Gradient(kind="gradient", weight=0.2))
    """Differences of image and HR, in [0, 1]. These need no weights; YONOS-SR's are L1 and a perceptual one:
    ``[{kind: l1}, {kind: lpips, trunk: vgg}]``."""
    discriminator: DiscriminatorConfig | None = DiscriminatorConfig(learning_rate=1e-4, weight=0.1)
    """``null`` trains without one, for the highest PSNR."""
    training: DecoderTraining = DecoderTraining()
