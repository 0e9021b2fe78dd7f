"""How a spec describes a denoiser. Light: pydantic only, because `validate` loads it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import Discriminator, Field, PositiveInt, Tag, model_validator

from pipelines.stage import Absent, Config, Input


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
    width: PositiveInt = 160
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

AUTOENCODER_INPUT = Input(
    "model", "a trained autoencoder, for `autoencoder: artifact`", {"role": "autoencoder"}, optional=True
)
"""The slot of a stage that can train in the latent space of another artifact; by convention ``autoencoder``."""
