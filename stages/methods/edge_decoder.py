"""``train.edge_decoder``: the last stage of Edge-SD-SR (Hadji et al., arXiv 2412.06978), the decoder.

"Finetuning the UNet's decoder on the UNet's output", as in YONOS-SR (arXiv 2401.17258): a small decoder learns from the
latents that the finished UNet answers in one step, which are no latents of photographs. UNet and LR encoder are frozen,
so their answers can be cached (``encode.one_step``); without a cache they are made at every step. The losses are in
`edge_decoder_method.py`, the settings in `edge_config.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from pipelines.stage import Artifact, Context, Input, InputFacets, Output, StageError, facets_of
from stages.losses.config import PERCEPTUAL_INPUT, require_lpips
from stages.methods.edge_config import EdgeDecoderTrainConfig
from stages.methods.edge_stage import EdgeStage, refuse_unfit_model
from stages.methods.training_stage import PAIRS_INPUT

if TYPE_CHECKING:
    from stages.data.index import Pairs
    from stages.data.latents import LatentIndex
    from stages.models.edge.model import EdgeModel


class TrainEdgeDecoder(EdgeStage):
    """Train the decoder on the UNet's answers; the artifact holds the whole model: one evaluation, LR to image."""

    name = "train.edge_decoder"
    Config = EdgeDecoderTrainConfig
    part = "whole"
    inputs: ClassVar[Mapping[str, Input]] = {
        "model": Input("model", "UNet and encoder (train.edge_joint), or the UNet", {"role": "sr", "family": "edge"}),
        "pairs": PAIRS_INPUT,
        "latents": Input(
            "samples", "the model's answers for these very pairs (encode.one_step): the UNet rests while training",
            {"role": "one-step"}, optional=True,
        ),
        "perceptual": PERCEPTUAL_INPUT,
        "initial": Input(
            "model", "a tiny autoencoder (TAESD): the decoder begins as its", {"role": "autoencoder", "family": "tiny"},
            optional=True,
        ),
    }  # fmt: skip

    @classmethod
    def outputs(cls, config: EdgeDecoderTrainConfig, inputs: InputFacets) -> Mapping[str, Output]:
        require_lpips(config.losses, inputs)
        refuse_unfit_model(config, inputs)
        model = facets_of(inputs, "model")
        if model.get("part") == "whole":
            raise StageError(
                "the input model has a decoder of its own already; connect the one before it (train.edge_joint, or "
                "train.edge_unet)"
            )
        return cls.model_output(config, "the whole model", model.get("scale"), model.get("latent_space"))

    def run(self, ctx: Context) -> None:
        from stages.data.scale import pair_scale
        from stages.methods.edge_decoder_method import EdgeDecoderMethod
        from stages.methods.edge_method import own_parts
        from stages.methods.patch_critic import device_of, image_losses, new_discriminator
        from stages.models.numerics import numerics, seeded
        from stages.training.distributed import ranks_of
        from stages.training.loader import PairLoader
        from stages.training.loop import Trainer
        from stages.training.pairs import training_pairs
        from stages.training.pictures import HeldOutPictures

        config: EdgeDecoderTrainConfig = ctx.config
        scale = pair_scale(ctx.inputs["pairs"])
        with numerics(config.threads, reproducible=config.device == "cpu"), ranks_of(ctx) as ranks:
            with seeded(config.seed):
                model = _whole_model(ctx).to(device_of(ctx)).eval()
                discriminator = new_discriminator(config.discriminator)
            pairs = training_pairs(ctx.inputs["pairs"], config, model.multiple)
            latents = _connected_answers(ctx, pairs)
            height, width = (scale * side for side in _lr_side(pairs, config.data.patch, scale))
            difference = image_losses(ctx, config.losses, config.discriminator, (height, width))
            method = EdgeDecoderMethod(model, discriminator, difference, config)
            pictures = HeldOutPictures.of(ctx.inputs["pairs"], ctx)
            with PairLoader(pairs, scale, config, ranks, latents=latents) as loader:
                state = Trainer(method, loader, config, ctx, pictures, ranks).run()
        if ctx.rank:
            return  # rank 0 has the same weights
        assert model.decoder is not None
        model.decoder.load_state_dict(state.averages["decoder"].average)
        space = str(ctx.inputs["model"].facets["latent_space"])
        self.save(ctx, _finished(model), own_parts(model).state_dict(), space, pairs.images)


def _whole_model(ctx: Context) -> EdgeModel:
    """The input model with a new decoder, or with that of the input `initial`. On the CPU."""
    from stages.methods.edge_method import with_parts
    from stages.models.edge.model import EdgeModel
    from stages.models.registry import load_autoencoder, load_model

    config: EdgeDecoderTrainConfig = ctx.config
    first = load_model(ctx.inputs["model"])
    assert isinstance(first, EdgeModel)
    model = with_parts(first, decoder=config.decoder.model_dump(mode="json"))
    if "initial" in ctx.inputs:
        assert model.decoder is not None
        decoder: Any = load_autoencoder(ctx.inputs["initial"]).decoder
        try:
            model.decoder.layers.load_state_dict(decoder.state_dict())
        except RuntimeError as error:
            raise StageError(
                f"{ctx.inputs['initial'].label}: its decoder is not of the shape of `decoder`: "
                f"{str(error).splitlines()[1].strip()} Set width and blocks to its own, upsample to nearest and "
                "residual to false"
            ) from error
    return model


def _connected_answers(ctx: Context, pairs: Pairs) -> LatentIndex | None:
    """The connected cache, of these pairs and of this model; None without one."""
    from stages.training.cached import connected_latents

    model = ctx.inputs["model"]
    latents = connected_latents(ctx.inputs, pairs, ctx.config.data, str(model.facets["latent_space"]))
    if latents is not None:
        _refuse_other_model(ctx.inputs["latents"], model)
    return latents


def _refuse_other_model(latents: Artifact, model: Artifact) -> None:
    of = latents.manifest.refs.get("model", "none")
    if of != model.digest:
        raise StageError(
            f"{latents.label}: its latents are answers of the model {of[:12]}, and the input model is {model.label} "
            f"({model.digest[:12]}); connect the stage that encodes with this model"
        )


def _lr_side(pairs: Pairs, patch: int | None, scale: int) -> tuple[int, int]:
    """(height, width) of LR samples, which `training_pairs` has found to be of one size."""
    height, width = (int(side) // scale for side in pairs.hr_sizes()[0])
    return (height, width) if patch is None else (patch, patch)


def _finished(model: EdgeModel) -> EdgeModel:
    """`model` without the trained autoencoder of HR, where none of its parts leans on it."""
    if model.encoder is not None and isinstance(model.constructor["autoencoder"], Mapping):
        model.constructor["autoencoder"] = None
    return model
