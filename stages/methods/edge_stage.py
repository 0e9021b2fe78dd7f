"""What Edge-SD-SR's training stages have in common: slots, facets, refusals, and how a model leaves. Light.

Each stage leaves a model of the family ``edge`` that `evaluate` and `upscale` take, in one network evaluation. The
facet `part` says how much of it is the model's own:

    unet     the UNet; LR is enlarged and encoded, and the answer decoded, by the HR autoencoder (ref `autoencoder`)
    joint    UNet and LR encoder; the HR autoencoder decodes
    whole    UNet, encoder and decoder: nothing else is needed, unless LR and HR share the encoder
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

from pipelines.stage import Artifact, Context, Facets, InputFacets, Output, facets_of
from stages.data.scale import refuse_other_scale
from stages.methods.training_stage import TrainingStage
from stages.training.cached import refuse_unfit_latents
from stages.training.config import TrainConfig

if TYPE_CHECKING:
    from torch import Tensor

    from stages.models.edge.model import EdgeModel


class EdgeStage(TrainingStage):
    """Base of the stages; `part` is what they leave."""

    part: ClassVar[Literal["unet", "joint", "whole"]]

    @classmethod
    def model_output(cls, config: TrainConfig, doc: str, scale: object, space: object) -> Mapping[str, Output]:
        """The one output; scale and space are facets where they are known."""
        facets: Facets = {"role": "sr", "family": "edge", "part": cls.part}
        if isinstance(scale, int):
            facets["scale"] = scale
        if isinstance(space, str):
            facets["latent_space"] = space
        return {"model": Output("model", doc, facets, reproducible=config.device == "cpu")}

    def save(
        self, ctx: Context, model: EdgeModel, weights: Mapping[str, Tensor], space: str, seen: Iterable[str]
    ) -> None:
        """Write `model` with `weights`, trained on the images `seen` and on what its inputs were trained on."""
        from stages.models.registry import save_model, save_provenance, trained_on

        out, images = ctx.out["model"], set(seen)
        for slot in ("model", "teacher", "initial"):
            if slot in ctx.inputs:
                images |= trained_on(ctx.inputs[slot])
        held = _autoencoder(ctx)
        if held is not None and isinstance(model.constructor["autoencoder"], Mapping):
            out.ref("autoencoder", held)
        save_model(out, model.family, model.constructor, weights, model.card())
        save_provenance(out, images)
        out.facet(scale=model.scale, latent_space=space)


def _autoencoder(ctx: Context) -> Artifact | None:
    """That of HR: connected, or referred to by the connected model; None where it has no weights."""
    if "autoencoder" in ctx.inputs:
        return ctx.inputs["autoencoder"]
    model = ctx.inputs.get("model")
    return model.ref("autoencoder") if model is not None and "autoencoder" in model.manifest.refs else None


def refuse_unfit_model(config: TrainConfig, inputs: InputFacets) -> None:
    """Refuse pairs or latents that the input `model` is not for, as far as facets tell. Raises StageError."""
    model, pairs = facets_of(inputs, "model"), facets_of(inputs, "pairs")
    refuse_other_scale(pairs.get("scale"), model.get("scale"), "model")
    refuse_unfit_latents(config.data, inputs, model.get("latent_space"))
