"""The ``with:`` section of ``train.autoencoder``. Light: pydantic only, because `validate` loads it.

The defaults are latent diffusion's VQ-f4 (arXiv 2112.10752, appendix; 55.323 M parameters), the latent space of
ResShift. ``{kind: kl}`` is its KL-f8 (83.654 M), ``{kind: tiny}`` an autoencoder of TAESD's shape (2.445 M).
"""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from stages.losses.config import L1, GanKind, LossList, Ssim
from stages.models.constructors import LdmConstructor, Levels, TinyConstructor, VQConstructor
from stages.training.config import DataConfig, OptimiserConfig, TrainConfig, TrainingConfig

VQGAN_BETAS = (0.5, 0.9)
"""Of both optimisers, in VQGAN and in latent diffusion."""


class VQNetwork(VQConstructor):
    """Latents at the nearest of `codes` vectors (`stages/models/vq.py`)."""

    kind: Literal["vq"]
    codebook_weight: PositiveFloat = 1.0
    """Of the codebook loss and the commitment together."""
    commitment: NonNegativeFloat = 0.25
    """beta of VQ-VAE (arXiv 1711.00937, eq. 3): how much latents are drawn to codes, as against codes to latents."""


class KLNetwork(LdmConstructor):
    """Latents near a standard normal (`stages/models/kl.py`); their scale is measured after training."""

    kind: Literal["kl"]
    channels: PositiveInt = 4
    multipliers: Levels = (1, 2, 4, 4)
    divergence_weight: NonNegativeFloat = 1e-6
    """Of the divergence in nats for one number of the image. Latent diffusion's 1e-6 is this 1e-6: it adds both
    reconstruction and divergence up over an image."""


class TinyNetwork(TinyConstructor):
    """Plain convolutions, and latents that nothing holds back (`stages/models/tiny.py`)."""

    kind: Literal["tiny"]


AutoencoderNetwork: TypeAlias = Annotated[VQNetwork | KLNetwork | TinyNetwork, Field(discriminator="kind")]

LOSS_FIELDS = {"kind", "codebook_weight", "commitment", "divergence_weight"}
"""What a network's section says besides how it is built."""


class DiscriminatorConfig(OptimiserConfig):
    """The patch discriminator and its optimiser. It judges in groups of channels, not over a batch, so that neither
    ranks nor micro-batches change what it learns; VQGAN's has batch norm."""

    learning_rate: PositiveFloat = 3.6e-5
    betas: tuple[float, float] = VQGAN_BETAS
    start: NonNegativeInt = 0
    """The first step that it takes part in; until then it is neither trained nor heard."""
    weight: PositiveFloat = 0.75
    """Of the adversarial loss, beside the adaptive weight."""
    loss: GanKind = "hinge"
    width: Annotated[PositiveInt, Field(multiple_of=4)] = 64
    layers: PositiveInt = 3
    """Halvings; with 3 of them each of its outputs sees 70x70 pixels."""


class AutoencoderTraining(TrainingConfig):
    """Optimiser of the autoencoder; latent diffusion's rate, 4.5e-6 for each sample of a batch."""

    learning_rate: PositiveFloat = 3.6e-5
    betas: tuple[float, float] = VQGAN_BETAS
    batch_size: PositiveInt = 8


class ImageDataConfig(DataConfig):
    """How HR images become training samples."""

    patch: PositiveInt | None = None
    """Random crops of this many pixels a side; left out, whole HR images are used."""


class AutoencoderConfig(TrainConfig):
    network: AutoencoderNetwork = VQNetwork(kind="vq")
    losses: LossList = (L1(kind="l1", weight=2.0), Ssim(kind="ssim", weight=0.2))
    """Differences of image and reconstruction, in [0, 1]. These need no weights. VQGAN's are
    ``[{kind: l1, weight: 2}, {kind: lpips, trunk: vgg}]``, which does (it measures L1 in [-1, 1]: hence the 2)."""
    discriminator: DiscriminatorConfig | None = DiscriminatorConfig()
    """``null`` trains without one."""
    training: AutoencoderTraining = AutoencoderTraining()
    data: ImageDataConfig = ImageDataConfig()
