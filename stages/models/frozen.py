"""An autoencoder held by a model that is trained: it moves with the model, and is no part of its weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from stages.models.autoencoders import Autoencoder


class Frozen:
    """Keeps `autoencoder` out of the holder's parameters, state dict, optimiser and average.

    A model refers to its autoencoder's artifact instead of copying it, and 55 M frozen numbers have no place
    in a checkpoint. Copies of a model share one autoencoder (:meth:`__deepcopy__`).
    """

    def __init__(self, autoencoder: Autoencoder) -> None:
        self.autoencoder = autoencoder
        if isinstance(autoencoder, nn.Module):
            autoencoder.eval().requires_grad_(False)

    def __deepcopy__(self, memo: dict[int, Any]) -> Frozen:
        return self

    def apply(self, change: Callable[[Tensor], Tensor]) -> None:
        """Do to the weights what the holder's `_apply` does to its own: a move to a device or another type."""
        if isinstance(self.autoencoder, nn.Module):
            self.autoencoder._apply(change)  # type: ignore[no-untyped-call]
