"""What every trained autoencoder has besides its layers: its card, its facets, and the name of its latent space."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, ClassVar

from torch import Tensor, nn

if TYPE_CHECKING:
    from pipelines.stage import Facets


class TrainedAutoencoder(nn.Module):
    """Base of autoencoders with weights. `encode` and `decode` as in `stages/models/autoencoders.py`."""

    family: ClassVar[str]
    channels: int
    factor: int
    constructor: dict[str, Any]
    decoder: nn.Module

    def encoding(self) -> Iterable[nn.Module]:
        """The modules whose weights decide what a latent means."""
        raise NotImplementedError(f"{type(self).__qualname__}.encoding")

    def encode(self, image: Tensor) -> Tensor:
        raise NotImplementedError(f"{type(self).__qualname__}.encode")

    def decode(self, latent: Tensor) -> Tensor:
        raise NotImplementedError(f"{type(self).__qualname__}.decode")

    @property
    def space(self) -> str:
        """``vq-f4c3-1f00c2ab34de``: family, factor, channels, and a digest of settings and encoder weights.

        Two trainings of one architecture make two spaces; a decoder trained further stays in its space. The
        weights are hashed at each call.
        """
        digest = hashlib.sha256(repr(sorted(self.constructor.items())).encode())
        for module in self.encoding():
            for name, value in sorted(module.state_dict().items()):
                digest.update(name.encode())
                digest.update(value.detach().float().cpu().contiguous().numpy().data)
        return f"{self.family}-f{self.factor}c{self.channels}-{digest.hexdigest()[:12]}"

    def card(self) -> dict[str, Any]:
        """What rebuilds this module without its weights: part of the constructor of models that hold it."""
        return {"family": self.family, "constructor": self.constructor}

    def facets(self) -> Facets:
        """What the artifact of this autoencoder states about itself."""
        return {
            "role": "autoencoder", "family": self.family, "space": self.space,
            "channels": self.channels, "factor": self.factor,
        }  # fmt: skip
