"""What the networks of each family are built from, checked before anything is read. Light: `plan` loads it, no torch.

Fields and defaults are the arguments of the classes that `stages/models/registry.py` names; the defaults of
`resshift` are its first released model (15 steps, x4), which lives in the latents of VQ-f4.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Final, Literal, TypeAlias

from pydantic import Field, JsonValue, PositiveFloat, PositiveInt, ValidationError, model_validator

from pipelines.stage import Config, Facets
from stages.models.config import Network, ProcessConfig, SwinConfig

Levels: TypeAlias = Annotated[tuple[PositiveInt, ...], Field(min_length=1)]


class LdmConstructor(Config):
    """What VQ and KL autoencoders share (`stages/models/ldm.py`)."""

    channels: PositiveInt
    width: PositiveInt = 128
    multipliers: Levels
    """Channels of each level in units of `width`, finest first; every level but the first halves the sides."""
    blocks: PositiveInt | Levels = 2
    groups: PositiveInt = 32

    @model_validator(mode="after")
    def _fits(self) -> LdmConstructor:
        if self.width % self.groups:
            raise ValueError(f"width: expected a multiple of groups={self.groups}, got {self.width}")
        levels = len(self.multipliers)
        if not isinstance(self.blocks, int) and len(self.blocks) != levels:
            raise ValueError(f"blocks: expected one number, or {levels} for the levels of multipliers")
        return self

    @property
    def factor(self) -> int:
        """HR pixels for one latent pixel, along a side."""
        return int(2 ** (len(self.multipliers) - 1))


class VQConstructor(LdmConstructor):
    channels: PositiveInt = 3
    codes: PositiveInt = 8192
    multipliers: Levels = (1, 2, 4)


class KLConstructor(LdmConstructor):
    channels: PositiveInt = 4
    multipliers: Levels = (1, 2, 4, 4)
    scale: PositiveFloat = 0.18215


class TinyConstructor(Config):
    channels: PositiveInt = 4
    width: PositiveInt = 64
    blocks: PositiveInt = 3
    halvings: PositiveInt = 3

    @property
    def factor(self) -> int:
        """HR pixels for one latent pixel, along a side."""
        return int(2**self.halvings)


class ResShiftConstructor(Config):
    scale: PositiveInt = 4
    autoencoder: Literal["identity", "space-to-depth", "artifact"] = "artifact"
    """Where it works: pixels, folded pixels, or the latents of the autoencoder connected to the input `autoencoder`."""
    residual: bool = False
    network: Network = SwinConfig(kind="swin", legacy_shift_mask=True)
    process: ProcessConfig = ProcessConfig()


AutoencoderConstructor: TypeAlias = VQConstructor | KLConstructor | TinyConstructor
Constructor: TypeAlias = AutoencoderConstructor | ResShiftConstructor

CONSTRUCTORS: Final[dict[str, type[Constructor]]] = {
    "vq": VQConstructor,
    "kl": KLConstructor,
    "tiny": TinyConstructor,
    "resshift": ResShiftConstructor,
}
AUTOENCODERS: Final = ("vq", "kl", "tiny")


def constructor_of(family: str | None, given: Mapping[str, JsonValue]) -> Constructor | None:
    """The constructor of `family` with what is `given`, the rest by default; None for a family that is not known here.

    Raises ValueError that names the fields.
    """
    if family not in CONSTRUCTORS:
        return None
    try:
        return CONSTRUCTORS[family].model_validate_json(json.dumps(given), strict=True)
    except ValidationError as error:
        wrong = [f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors(include_url=False)]
        raise ValueError(f"constructor of family {family}: {'; '.join(wrong)}".replace(": : ", ": ")) from None


def stated_facets(constructor: Constructor) -> Facets:
    """What an artifact of the family states about itself, as far as the constructor tells (no latent space)."""
    if isinstance(constructor, ResShiftConstructor):
        facets: Facets = {"scale": constructor.scale, "timesteps": constructor.process.timesteps}
        own = {"identity": "pixel", "space-to-depth": f"space-to-depth-{constructor.scale}"}
        if constructor.autoencoder in own:
            facets["latent_space"] = own[constructor.autoencoder]
        return facets
    return {"channels": constructor.channels, "factor": constructor.factor}
