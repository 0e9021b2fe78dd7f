"""``train.autoencoder``: the latent space of diffusion models, learnt from photographs (VQGAN, arXiv 2012.09841).

An autoencoder learns to give back what it is shown, by pixels, by perception and by what a patch discriminator holds
against it. This is the stage; its settings are in `autoencoder_config.py`, what it minimises in
`autoencoder_method.py`, the networks in `stages/models/{vq,kl,tiny}.py`, the loop in `stages/training/`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pipelines.stage import Context, Facets, Input, InputFacets, JsonObject, Output
from stages.losses.config import PERCEPTUAL_INPUT, require_lpips
from stages.methods.autoencoder_config import LOSS_FIELDS, AutoencoderConfig, KLNetwork
from stages.methods.training_stage import TrainingStage

if TYPE_CHECKING:
    from stages.training.reconstruction import Images


class TrainAutoencoder(TrainingStage):
    """Train a VQ, KL or tiny autoencoder on the HR side of pairs; the artifact holds its averaged weights.

    Its latents are measured afterwards: mean, deviation and codes in use are in the card (`latent`), and a KL
    autoencoder's `scale` is one over that deviation.
    """

    name = "train.autoencoder"
    Config = AutoencoderConfig
    inputs = {
        "pairs": Input("samples", "pairs, of which HR is used, and only the train split", {"role": "pairs"}),
        "perceptual": PERCEPTUAL_INPUT,
    }

    @classmethod
    def outputs(cls, config: AutoencoderConfig, inputs: InputFacets) -> Mapping[str, Output]:
        """The latent space is named after the encoder's weights, so it is known when they are."""
        require_lpips(config.losses, inputs)
        network = config.network
        facets: Facets = {"role": "autoencoder", "family": network.kind}
        facets |= {"channels": network.channels, "factor": network.factor}
        return {"model": Output("model", "the autoencoder", facets, reproducible=config.device == "cpu")}

    def run(self, ctx: Context) -> None:
        from stages.methods.autoencoder_method import AutoencoderMethod
        from stages.methods.patch_critic import image_losses, new_discriminator
        from stages.models.numerics import numerics, seeded
        from stages.models.registry import build_family
        from stages.training.distributed import ranks_of
        from stages.training.loader import PairLoader
        from stages.training.loop import Trainer
        from stages.training.reconstruction import Reconstructions, training_images

        config: AutoencoderConfig = ctx.config
        with numerics(config.threads, reproducible=config.device == "cpu"):
            with seeded(config.seed):
                model = build_family(config.network.kind, config.network.model_dump(mode="json", exclude=LOSS_FIELDS))
                discriminator = new_discriminator(config.discriminator)
            images, side = training_images(ctx.inputs["pairs"], config, model.factor)
            difference = image_losses(ctx, config.losses, config.discriminator, side)
            method = AutoencoderMethod(model, discriminator, difference, config)
            pictures = Reconstructions.of(ctx.inputs["pairs"], ctx)
            with ranks_of(ctx) as ranks, PairLoader(images, 1, config, ranks) as loader:
                state = Trainer(method, loader, config, ctx, pictures, ranks).run()
            if ctx.rank == 0:  # the others have the same weights
                model.load_state_dict(state.averages["autoencoder"].average)
                _save(ctx, model.eval(), images)


def _save(ctx: Context, model: Any, images: Images) -> None:
    """Measure the latents of the trained `model`, scale those of KL, and write the artifact."""
    from stages.methods.patch_critic import device_of
    from stages.models.registry import save_model, save_provenance
    from stages.training.latent_statistics import measure
    from stages.training.loader import PairLoader

    config: AutoencoderConfig = ctx.config
    with PairLoader(images, 1, config) as loader:
        latents = measure(model, loader, device_of(ctx))
    if isinstance(config.network, KLNetwork):
        ctx.log.info("latents had a standard deviation of %.3g; the autoencoder now divides them by it", latents.std)
        model.rescale(model.scale / latents.std)
        latents = latents.times(1 / latents.std)
    elif not latents.usual:
        ctx.log.warning(
            "latents have a standard deviation of %.3g; diffusion in them assumes about 1, and nothing scales them",
            latents.std,
        )
    ctx.metrics(config.steps, **{f"latent/{name}": value for name, value in latents.numbers().items()})
    card: JsonObject = {
        "preprocessing": {"colour": "sRGB", "range": [-1, 1], "multiple": model.factor},
        "latent": latents.card(),
    }
    save_model(ctx.out["model"], model.family, model.constructor, model.state_dict(), card)
    save_provenance(ctx.out["model"], images.images)
    ctx.out["model"].facet(**model.facets())
