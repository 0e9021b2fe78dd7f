"""How a spec describes an Edge-SD-SR model. Light: pydantic only, `validate` loads it.

The defaults are the full size: 128x128 LR to 512x512, in the latents of Stable Diffusion's KL-f8. The paper
(arXiv 2412.06978) fixes the total alone, about 169 M parameters and 142 G multiply-accumulates; how they are divided
is reconstruction: a Stable Diffusion UNet of half the width, a decoder of TAESD's class, an encoder in what is left.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator

from pipelines.stage import Config


class EdgeNetworkConfig(Config):
    """The UNet (`stages/models/edge/unet.py`)."""

    widths: Annotated[tuple[Annotated[PositiveInt, Field(multiple_of=8)], ...], Field(min_length=1)] = (
        160, 320, 640, 640,
    )  # fmt: skip
    """Channels of each level, finest first. Phones want multiples of 32."""
    blocks: PositiveInt = 2
    """Residual blocks a level on the way down; one more on the way up."""
    attention: tuple[Annotated[int, Field(lt=0)], ...] = (-1,)
    """Levels with a transformer behind each block, counted from the lowest: -1. Stable Diffusion's own, of which
    weights can be taken, are at -2 and above; there they cost more on a phone."""
    head_width: PositiveInt = 64
    groups: PositiveInt = 32
    """Groups of each norm; fewer where they do not divide the channels."""
    embedding: PositiveInt = 256
    """Width of the embedding of t, which is folded into biases before the model ships."""
    activation: Literal["silu", "hardswish"] = "silu"
    """Stable Diffusion's, or one that phone DSPs fuse with the layer before it."""

    @model_validator(mode="after")
    def _whole_heads(self) -> EdgeNetworkConfig:
        for level in self.attention:
            if level < -len(self.widths):
                raise ValueError(f"attention: expected levels -{len(self.widths)} to -1, got {level}")
            if self.widths[level] % self.head_width:
                raise ValueError(
                    f"head_width: expected a divisor of {self.widths[level]}, the width of level {level}; "
                    f"got {self.head_width}"
                )
        return self


class EdgeEncoderConfig(Config):
    """The LR encoder (`stages/models/edge/encoder.py`); one width and one number of blocks a resolution."""

    widths: Annotated[tuple[PositiveInt, ...], Field(min_length=1)] = (64, 128)
    """Channels at LR resolution and after each halving, down to that of the latent."""
    blocks: Annotated[tuple[PositiveInt, ...], Field(min_length=1)] = (1, 3)
    residual: bool = False
    """The answer is added to the latent of the bicubic image, so that training starts there: for small models over an
    autoencoder without weights."""

    @model_validator(mode="after")
    def _as_many(self) -> EdgeEncoderConfig:
        if len(self.widths) != len(self.blocks):
            raise ValueError(f"blocks: expected {len(self.widths)} numbers, one for each of widths; got {self.blocks}")
        return self


class EdgeDecoderConfig(Config):
    """The decoder (`stages/models/edge/decoder.py`); the defaults are TAESD's, whose weights fit."""

    width: PositiveInt = 64
    blocks: PositiveInt = 3
    upsample: Literal["nearest", "pixel-shuffle"] = "nearest"
    """Which of the two a phone's compiler takes differs; a nearest decoder can be rewritten for pixel-shuffle."""
    residual: bool = False
    """The answer is added to that of an autoencoder without weights, so that training starts there."""


class BidirectionalConfig(Config):
    """The forward process (`stages/diffusion/bidirectional.py`)."""

    mean: Literal["hr", "lr", "residual-shift"] = "lr"
    """What z_t tends to: nothing but noise (DDPM, not bidirectional), or the LR latent in one of two ways."""
    timesteps: PositiveInt = 1000
    k: NonNegativeFloat | None = None
    """How much noise there is around the mean at the end; left out, 1 for `hr`, which is DDPM, and 0.1 otherwise."""
    inference_k: NonNegativeFloat | None = None
    """The same where an image is made; left out, that of training. At 0 an image is a function of its LR alone."""
    prediction: Literal["x0", "v"] = "x0"
    beta_first: Annotated[float, Field(gt=0, lt=1)] = 0.00085
    beta_last: Annotated[float, Field(gt=0, lt=1)] = 0.012
    """The scaled-linear schedule of `hr` and `lr`; Stable Diffusion's."""
    zero_terminal: bool = True
    """Rescale that schedule so that nothing of HR is left at its end (arXiv 2305.08891)."""
    power: PositiveFloat = 0.3
    min_noise: PositiveFloat = 0.04
    """The schedule of `residual-shift`, with `end`; ResShift's."""
    end: Annotated[float, Field(gt=0, le=1)] = 0.99
    """sqrt(eta_T)."""

    @model_validator(mode="after")
    def _fits(self) -> BidirectionalConfig:
        if self.prediction == "v" and self.mean == "residual-shift":
            raise ValueError("prediction: v is for mean hr and lr, whose steps are rotations; use x0")
        if self.beta_first > self.beta_last:
            raise ValueError(f"beta_first: expected at most beta_last={self.beta_last:g}, got {self.beta_first:g}")
        if self.mean == "residual-shift" and self.min_noise / max(self.k or 0.0, 1.0) >= self.end:
            raise ValueError(f"min_noise: sqrt(eta) must rise to end={self.end:g}, and min_noise is {self.min_noise:g}")
        return self


class StepBiasConfig(Config):
    """Which t a training step draws (`stages/diffusion/timesteps.py`)."""

    kind: Literal["uniform", "biased"] = "uniform"
    first: NonNegativeFloat = 4.0
    """Exponent of the density of t / T at the first training step; 0 is uniform. `biased` only."""
    last: NonNegativeFloat = 0.0
    """The exponent after `over` training steps, and from then on."""
    over: PositiveInt = 10_000

    @property
    def exponents(self) -> tuple[float, float, int]:
        """The arguments of `stages.diffusion.timesteps.StepBias`."""
        return (self.first, self.last, self.over) if self.kind == "biased" else (0.0, 0.0, 1)


class LatentConfig(Config):
    """Shape of the latents of the HR autoencoder."""

    channels: PositiveInt = 4
    factor: PositiveInt = 8
    """HR pixels for one latent pixel, along a side."""


class EdgeConfig(Config):
    """A whole model: `EdgeModel(**config.model_dump(mode="json"))` (`stages/models/edge/model.py`)."""

    scale: PositiveInt = 4
    latent: LatentConfig = LatentConfig()
    residual: bool = True
    """The UNet's answer is added to z_l, so that a new network, whose last layer is zero, answers z_l."""
    network: EdgeNetworkConfig = EdgeNetworkConfig()
    encoder: EdgeEncoderConfig | None = EdgeEncoderConfig()
    """Left out (null), LR is enlarged and encoded by the HR autoencoder: an ablation, and no model for a phone."""
    decoder: EdgeDecoderConfig | None = EdgeDecoderConfig()
    """Left out (null), the HR autoencoder decodes."""
    process: BidirectionalConfig = BidirectionalConfig()

    @model_validator(mode="after")
    def _residual_is_of_x0(self) -> EdgeConfig:
        if self.residual and self.process.prediction == "v":
            raise ValueError("residual: adds z_l to an answer that is z_h; with prediction: v set it to false")
        return self
