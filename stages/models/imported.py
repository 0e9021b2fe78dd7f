"""Weights from outside made to fit the network of their family, and what the artifact then says about them.

The network is built on the meta device: names and shapes are enough, and nothing is initialised for nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from pipelines.stage import JsonObject, StageError
from stages.models.constructors import Constructor
from stages.models.keymaps.published import fitted, is_published, whole
from stages.models.keymaps.rules import KeyMapError
from stages.models.latent_space import TrainedAutoencoder
from stages.models.registry import build_family
from stages.models.resshift import ResShiftModel
from stages.models.state_dicts import merge


def network(family: str, constructor: Constructor, autoencoder: Mapping[str, Any] | None) -> nn.Module:
    """The module of `family` without weights, on the meta device.

    `autoencoder` is the card of the one that is connected, for models that work in its latents.
    """
    arguments = constructor.model_dump(mode="json")
    if autoencoder is not None:
        arguments["autoencoder"] = {name: autoencoder[name] for name in ("family", "constructor")}
    try:
        with torch.device("meta"):
            module: nn.Module = build_family(family, arguments)
    except ValueError as error:
        raise StageError(f"constructor of family {family}: {error}") from error
    return module


def fit(states: Mapping[str, Mapping[str, Tensor]], family: str, module: nn.Module) -> dict[str, Tensor]:
    """The tensors of all files under the names of `module`. Raises StageError for what does not fit it."""
    state = merge(whole(states, family))
    try:
        return fitted(state, family, module)
    except KeyMapError as error:
        raise StageError(f"{', '.join(states)}: {error}") from error


def space_of(module: nn.Module, state: Mapping[str, Tensor]) -> str | None:
    """The latent space of an autoencoder with these weights; None for any other network."""
    if not isinstance(module, TrainedAutoencoder):
        return None
    module.load_state_dict(state, assign=True)
    return module.space


def card_of(module: nn.Module) -> JsonObject:
    """What the card says besides family and constructor: the images that go in, and how a model is sampled."""
    if isinstance(module, ResShiftModel):
        return {
            "preprocessing": {"colour": "sRGB", "range": [-1, 1], "padding": "reflect", "multiple": module.multiple},
            "sampler": {"kind": "ancestral", "steps": module.process.timesteps},
        }
    assert isinstance(module, TrainedAutoencoder)
    return {"preprocessing": {"colour": "sRGB", "range": [-1, 1], "multiple": module.factor}}


def wrong_mask(states: Mapping[str, Mapping[str, Tensor]], family: str, constructor: Constructor) -> bool:
    """Whether these are released ResShift weights that would not get the attention mask they were trained with."""
    released = any(is_published(state, family) for state in states.values())
    return family == "resshift" and released and not constructor.model_dump()["network"].get("legacy_shift_mask", True)
