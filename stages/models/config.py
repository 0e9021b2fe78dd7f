"""How a spec describes a denoiser, its process and its latent space. Light: pydantic only, `validate` loads it."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Annotated, Any, Final, Literal, TypeAlias

from pydantic import Discriminator, Field, PositiveFloat, PositiveInt, Tag, model_validator

from pipelines.stage import Absent, Config, Facets, Input, InputFacets, StageError, facets_of


class NetworkConfig(Config):
    """A residual UNet (`stages/models/unet.py`)."""

    kind: Annotated[Literal["unet"], Absent("unet")] = "unet"
    widths: Annotated[tuple[Annotated[PositiveInt, Field(multiple_of=4)], ...], Field(min_length=1)] = (64, 128)
    """Channels of each level, finest first."""
    blocks: PositiveInt = 2
    attention: bool = False
    """Self-attention at the lowest resolution."""
    groups: PositiveInt = 8


class SwinConfig(Config):
    """ResShift's Swin UNet (`stages/models/swin_unet.py`); the defaults are the paper's 118.594 M parameters."""

    kind: Literal["swin"]
    size: PositiveInt = 64
    """Side of the latents that it is trained on; sets at which levels windows shift."""
    width: Annotated[PositiveInt, Field(multiple_of=2)] = 160
    multipliers: Annotated[tuple[PositiveInt, ...], Field(min_length=1)] = (1, 2, 2, 4)
    """Channels of each level in units of `width`, finest first."""
    blocks: PositiveInt = 2
    """Residual blocks a level on the way down; one more on the way up."""
    swin_width: PositiveInt = 192
    head_width: PositiveInt = 32
    window: Annotated[PositiveInt, Field(multiple_of=2)] = 8
    depth: PositiveInt = 2
    """Transformer blocks of each Swin layer."""
    mlp_ratio: PositiveInt = 4
    groups: PositiveInt = 32
    legacy_shift_mask: bool = False
    """Attention as the released ResShift weights know it, across the right edge; only to go on from those."""

    @model_validator(mode="after")
    def _fits(self) -> SwinConfig:
        check_swin(self.size, len(self.multipliers), self.window, self.swin_width, self.head_width)
        return self


def check_swin(size: int, levels: int, window: int, swin_width: int, head_width: int) -> None:
    """Raises ValueError unless each of `levels` has whole windows and `swin_width` whole heads."""
    if size % (window << (levels - 1)):
        raise ValueError(
            f"size: expected a multiple of {window << (levels - 1)}, so that the lowest of {levels} levels has whole "
            f"windows of {window}; got {size}"
        )
    if swin_width % head_width:
        raise ValueError(f"swin_width: expected a multiple of head_width={head_width}, got {swin_width}")


def kind(value: Any) -> Any:
    """What a network is by its `kind`; without one it is the small UNet."""
    return value.get("kind", "unet") if isinstance(value, Mapping) else getattr(value, "kind", "unet")


Network: TypeAlias = Annotated[
    Annotated[NetworkConfig, Tag("unet")] | Annotated[SwinConfig, Tag("swin")], Discriminator(kind)
]
"""The type of a config field ``network``."""


class ProcessConfig(Config):
    """ResShift's chain (arXiv 2307.12348, section 3.2).

    The paper's two settings: 15 steps, min_noise 0.04; 4 steps, min_noise 0.2.
    """

    timesteps: PositiveInt = 15
    kappa: PositiveFloat = 2.0
    power: PositiveFloat = 0.3
    min_noise: PositiveFloat = 0.04
    """Bounds kappa * sqrt(eta_1), the noise of the first step."""
    end: Annotated[float, Field(gt=0, lt=1)] = 0.99
    """sqrt(eta_T)."""

    @model_validator(mode="after")
    def _rises(self) -> ProcessConfig:
        first = min(self.min_noise / self.kappa, self.min_noise)
        if first >= self.end:
            raise ValueError(f"sqrt(eta) must rise from {first:g} (of min_noise and kappa) to end={self.end:g}")
        return self


AUTOENCODER_INPUT = Input(
    "model", "a trained autoencoder, for `autoencoder: artifact`", {"role": "autoencoder"}, optional=True
)
"""The slot of a stage that can train in the latent space of another artifact; by convention ``autoencoder``."""

SPACE: Final = r"^(vq|kl|tiny)-f([1-9][0-9]*)c([1-9][0-9]*)(-[0-9a-f]{12})?$"
"""The latent space of a trained autoencoder; without the digest of its encoder, any of that family and shape."""


def latent_space(which: str, inputs: InputFacets) -> str | None:
    """The latent space of a stage whose config says `autoencoder: which`, where it is known before the run."""
    if which == "identity":
        return "pixel"
    if which == "space-to-depth":
        scale = facets_of(inputs, "pairs").get("scale")
        return f"space-to-depth-{scale}" if isinstance(scale, int) else None
    space = facets_of(inputs, "autoencoder").get("space")
    return space if isinstance(space, str) else None


def space_facets(space: str) -> Facets:
    """What the facets of an autoencoder must be for a model of `space`: ``vq-f4c3-1f00c2ab34de``, or ``vq-f4c3``."""
    found = re.fullmatch(SPACE, space)
    if found is None:
        raise ValueError(f"latent space: expected the form vq-f4c3 or vq-f4c3-1f00c2ab34de, got {space!r}")
    facets: Facets = {"family": found[1], "factor": int(found[2]), "channels": int(found[3])}
    return {**facets, "space": space} if found[4] else facets


def require_autoencoder(which: str, connected: Collection[str]) -> None:
    """Refuse a config that asks for a trained autoencoder without one, and one that is connected and not asked for.

    `which` is the config's `autoencoder`, `connected` the slots that have an input. Called from a stage's
    `outputs`, it is found when the spec is validated. Raises StageError.
    """
    if which == "artifact" and "autoencoder" not in connected:
        raise StageError("autoencoder: artifact needs one; connect it: inputs: {autoencoder: <stage>}")
    if which != "artifact" and "autoencoder" in connected:
        raise StageError(
            f"the input autoencoder is connected, and the config asks for {which}; set `autoencoder: artifact`, or "
            "disconnect it"
        )
