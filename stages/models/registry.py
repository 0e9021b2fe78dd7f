"""From a model artifact to a module that super-resolves, without the caller naming a class.

A model artifact holds ``model.json`` (the card: how to build it), ``weights.safetensors`` (EMA weights) and
``provenance.json`` (what it was trained on). A new family adds one line to :data:`FAMILIES`. A model whose
autoencoder has weights names it in its constructor and refers to its artifact (ref `autoencoder`).
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final, Protocol, Unpack, cast

from stages.models.weights import read_weights, write_weights
from stages.sampling.config import SamplingOptions

if TYPE_CHECKING:
    from torch import Tensor

    from pipelines.stage import Artifact, JsonObject, OutputWriter
    from stages.models.latent_space import TrainedAutoencoder

CARD_SCHEMA: Final = 1
FAMILIES: Final[dict[str, str]] = {
    "resshift": "stages.models.resshift:ResShiftModel",
    "one-step": "stages.models.one_step:OneStepModel",
    "edge": "stages.models.edge.model:EdgeModel",
    "vq": "stages.models.vq:VQAutoencoder",
    "kl": "stages.models.kl:KLAutoencoder",
    "tiny": "stages.models.tiny:TinyAutoencoder",
}
"""Family -> ``module:Class``; the class is built from the card's `constructor` by keyword."""


class SuperResolver(Protocol):
    """What every family offers to evaluation and export."""

    family: str
    scale: int

    def super_resolve(self, lr: Tensor, **options: Unpack[SamplingOptions]) -> Tensor:
        """lr float [3, h, w] in [0, 1] -> [3, h*scale, w*scale] in [0, 1]; noise from (`seed`, `name`) only.

        Raises ValueError for settings that do not fit the model.
        """
        ...

    def evaluations(self, steps: int | None = None) -> int:
        """Network evaluations that one image costs."""
        ...


def build_model(card: Mapping[str, Any]) -> Any:
    """A freshly initialised module of the card's family. Raises ValueError for a family or schema unknown here."""
    if card.get("schema") != CARD_SCHEMA:
        raise ValueError(
            f"model.json: expected schema {CARD_SCHEMA}, got {card.get('schema')!r}; the model was written by "
            "another version of Sharpline: use that version, or train the model again"
        )
    return build_family(card["family"], card["constructor"])


def build_family(family: str, constructor: Mapping[str, Any]) -> Any:
    """A freshly initialised module. Raises ValueError for an unknown family."""
    if family not in FAMILIES:
        raise ValueError(f"model family {family!r} is unknown here; known: {', '.join(sorted(FAMILIES))}")
    module, _, name = FAMILIES[family].partition(":")
    return getattr(importlib.import_module(module), name)(**constructor)


def read_card(artifact: Artifact) -> dict[str, Any]:
    """The card of a model artifact."""
    card: dict[str, Any] = json.loads(artifact.read("model.json"))
    return card


def _load(artifact: Artifact) -> Any:
    """The module of an artifact's card with its weights, which may be in a published layout of the family."""
    from stages.models.keymaps.published import our_names

    card = read_card(artifact)
    module = build_model(card)
    state = read_weights(artifact.open("weights.safetensors"))
    module.load_state_dict(our_names(state, card["family"], module))
    return module


def load_model(artifact: Artifact, device: str = "cpu") -> SuperResolver:
    """Rebuild a model artifact with its weights, and those of the autoencoder it refers to, on `device`.

    In evaluation mode. Raises ValueError where the model needs the weights of an autoencoder and refers to none.
    """
    from stages.models.frozen import Frozen

    model = _load(artifact)
    if isinstance(model.constructor.get("autoencoder"), Mapping):
        if "autoencoder" not in artifact.manifest.refs:
            raise ValueError(
                f"{artifact.label}: expected a ref to its autoencoder, whose weights it needs; it has none"
            )
        model.frozen = Frozen(load_autoencoder(artifact.ref("autoencoder")))
    return cast(SuperResolver, model.eval().to(device))


def load_autoencoder(artifact: Artifact, device: str = "cpu") -> TrainedAutoencoder:
    """Rebuild an artifact with the role autoencoder: frozen, in evaluation mode, on `device`."""
    if artifact.facets.get("role") != "autoencoder":
        raise ValueError(f"{artifact.label}: expected a model with role autoencoder, got {artifact.facets.get('role')}")
    return cast("TrainedAutoencoder", _load(artifact).eval().requires_grad_(False).to(device))


def save_model(
    out: OutputWriter, family: str, constructor: Mapping[str, Any], weights: Mapping[str, Tensor], card: JsonObject
) -> None:
    """Write card and weights of a model of `family`; `card` adds facts for readers (preprocessing, sampler)."""
    save_card(out, family, constructor, card)
    write_weights(out.path("weights.safetensors"), weights)


def save_card(out: OutputWriter, family: str, constructor: Mapping[str, Any], card: JsonObject) -> None:
    """Write the card alone, beside weights that are there already."""
    text = {"schema": CARD_SCHEMA, "family": family, "constructor": dict(constructor), **card}
    out.path("model.json").write_text(json.dumps(text, indent=1, sort_keys=True) + "\n")


def save_provenance(out: OutputWriter, sources: Iterable[str]) -> None:
    """Write the sha256 of every source image that training could see, sorted."""
    text = {"schema": 1, "sources": sorted(set(sources))}
    out.path("provenance.json").write_text(json.dumps(text, indent=1) + "\n")


def trained_on(artifact: Artifact) -> set[str]:
    """The source digests in the provenance of a model and of what it refers to (its autoencoder).

    Empty where none is stated, as of weights from outside.
    """
    seen = set[str]()
    if any(entry.name == "provenance.json" for entry in artifact.manifest.entries):
        seen |= set(json.loads(artifact.read("provenance.json"))["sources"])
    return seen.union(*(trained_on(artifact.ref(role)) for role in artifact.manifest.refs))
