"""``train.edge_joint``: the second stage of Edge-SD-SR (Hadji et al., arXiv 2412.06978), UNet and LR encoder together.

"Joint training of the UNet and the encoder, decoupling the encodings of the HR and LR images and leveraging a dedicated
schedule" is what the abstract says. Here: HR stays with the frozen encoder of the autoencoder, LR gets a small one of
its own, and the draw of t is biased to the end of the process, where the LR latent is all that the UNet is told; the
bias is annealed (`stages/diffusion/timesteps.py`), and recorded with the losses. The loss is in `edge_method.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from pipelines.stage import Context, Input, InputFacets, Output, facets_of
from stages.methods.edge_config import EdgeJointConfig
from stages.methods.edge_stage import EdgeStage, refuse_unfit_model
from stages.methods.training_stage import PAIRS_INPUT
from stages.training.cached import LATENTS_INPUT


class TrainEdgeJoint(EdgeStage):
    """Train a UNet further, with an LR encoder; the artifact holds the averaged weights of both."""

    name = "train.edge_joint"
    Config = EdgeJointConfig
    part = "joint"
    inputs: ClassVar[Mapping[str, Input]] = {
        "model": Input("model", "the UNet (train.edge_unet)", {"role": "sr", "family": "edge", "part": "unet"}),
        "pairs": PAIRS_INPUT,
        "latents": LATENTS_INPUT,
    }

    @classmethod
    def outputs(cls, config: EdgeJointConfig, inputs: InputFacets) -> Mapping[str, Output]:
        refuse_unfit_model(config, inputs)
        model = facets_of(inputs, "model")
        return cls.model_output(config, "UNet and LR encoder", model.get("scale"), model.get("latent_space"))

    def run(self, ctx: Context) -> None:
        from stages.data.scale import pair_scale
        from stages.methods.edge_method import EdgeMethod, with_parts
        from stages.models.edge.model import EdgeModel
        from stages.models.numerics import numerics, seeded
        from stages.models.registry import load_model
        from stages.training.cached import connected_latents
        from stages.training.distributed import ranks_of
        from stages.training.loader import PairLoader
        from stages.training.loop import Trainer
        from stages.training.pairs import training_pairs
        from stages.training.pictures import HeldOutPictures

        config: EdgeJointConfig = ctx.config
        scale = pair_scale(ctx.inputs["pairs"])
        with numerics(config.threads, reproducible=config.device == "cpu"), ranks_of(ctx) as ranks:
            first = load_model(ctx.inputs["model"])
            assert isinstance(first, EdgeModel)
            space = first.autoencoder.space
            encoder = config.encoder.model_dump(mode="json") if config.lr_encoding == "separate" else None
            with seeded(config.seed):
                model = with_parts(first, encoder=encoder)
            model.to(ctx.devices[0] if config.device == "cuda" else "cpu")
            pairs = training_pairs(ctx.inputs["pairs"], config, model.multiple)
            latents = connected_latents(ctx.inputs, pairs, config.data, space)
            method = EdgeMethod(model, config)
            pictures = HeldOutPictures.of(ctx.inputs["pairs"], ctx)
            with PairLoader(pairs, scale, config, ranks, latents=latents, hr=latents is None) as loader:
                state = Trainer(method, loader, config, ctx, pictures, ranks).run()
        if ctx.rank == 0:  # the others have the same weights
            self.save(ctx, model, state.averages["model"].average, space, pairs.images)
