"""``train.resshift``: the ResShift teacher (Yue, Wang, Loy, arXiv 2307.12348).

A ResShift model turns an LR image into an HR image by a short Markov chain that shifts the residual between
them. Read from top to bottom: the settings, the loss (:class:`ResShiftMethod`), and the stage around it.
The chain itself is `stages/diffusion/resshift.py`, the network around it `stages/models/resshift.py`, and
everything that any training has in common `stages/training/`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pipelines.stage import (
    Absent,
    Context,
    Facets,
    InputFacets,
    JsonObject,
    Output,
    facets_of,
)
from stages.losses.config import PERCEPTUAL_INPUT, LossList, require_lpips
from stages.methods.training_stage import PAIRS_INPUT, InLatentsConfig, TrainingStage
from stages.models.config import (
    AUTOENCODER_INPUT,
    Network,
    NetworkConfig,
    ProcessConfig,
    latent_space,
    require_autoencoder,
)
from stages.training.cached import LATENTS_INPUT, refuse_unfit_latents

if TYPE_CHECKING:
    from torch import Tensor, nn

    from stages.losses.combined import CombinedLoss
    from stages.models.resshift import ResShiftModel
    from stages.training.method import Batch, Losses, Phase


class ResShiftConfig(InLatentsConfig):
    network: Network = NetworkConfig()
    """`kind: swin` is the paper's network; without a kind it is a small UNet."""
    process: ProcessConfig = ProcessConfig()
    autoencoder: Literal["identity", "space-to-depth", "artifact"] = "space-to-depth"
    """The latent space: pixels at HR resolution; blocks of pixels folded into channels at LR resolution; or that of
    the trained autoencoder connected to the input `autoencoder`, which is not trained further."""
    residual: bool = True
    """The network's output is added to the encoded bicubic image, so that training starts from that answer."""
    losses: Annotated[LossList | None, Absent(None)] = None
    """Losses of the decoded answer against HR, besides that of latents, whose weight is 1. The 4-step model of the
    journal version (v3) has `[{kind: lpips, weight: 1, trunk: vgg}]`. Decoding and its gradient cost more than the
    network."""


class ResShiftMethod:
    """One network, one optimiser, one loss: the denoiser predicts z0 from z_t and the LR image."""

    def __init__(self, model: ResShiftModel, config: ResShiftConfig, image_losses: CombinedLoss | None = None) -> None:
        """`image_losses` compare images in [-1, 1]."""
        from stages.training.method import Phase

        self.model, self.image_losses, self.precision = model, image_losses, config.autoencoder_precision
        self.networks: Mapping[str, nn.Module] = {"model": model}
        self.averaged: Mapping[str, float] = {"model": config.training.ema}
        self.phases: Sequence[Phase] = (Phase("denoiser", ("model",), config.training, self.losses),)

    def losses(self, batch: Batch) -> Losses:
        """|| f(z_t, y, t) - z0 ||^2, averaged over elements, the same weight for every t (section 3.1).

        t is uniform over the chain, z_t ~ q(z_t | z0, z_y). The weight that the variational bound would give
        each t is dropped, as in the paper: which improves the results. With `image_losses` their sum is added:
        that of the decoded answer, at every t, against HR.
        """
        from stages.methods.latents import latents_of

        z0, zy = latents_of(batch, self.model, self.precision)
        t = batch.noise.integers("t", batch.samples, self.model.process.timesteps)
        noise = batch.noise.normal("forward", batch.samples, z0.shape[1:]).to(z0)
        z_t = self.model.process.q_sample(z0, zy, t, noise)
        predicted = self.model.predict_x0(z_t, t, batch.lr, zy)
        error = (predicted - z0).float().square().mean()
        return {"loss": error} if self.image_losses is None else self._with_images(error, predicted, batch)

    def _with_images(self, error: Tensor, predicted: Tensor, batch: Batch) -> Losses:
        from stages.methods.latents import decoded

        assert self.image_losses is not None
        found = self.image_losses.to(predicted.device)(decoded(predicted, self.model, self.precision), 2 * batch.hr - 1)
        return {"loss": error + found.pop("total"), "latent": error, **found}

    def preview(self, lr: Tensor, name: str) -> Tensor:
        return self.model.super_resolve(lr, name=name)


class TrainResShift(TrainingStage):
    """Train a ResShift teacher on degraded pairs; the artifact holds its averaged weights."""

    name = "train.resshift"
    Config = ResShiftConfig
    inputs = {
        "pairs": PAIRS_INPUT,
        "autoencoder": AUTOENCODER_INPUT,
        "latents": LATENTS_INPUT,
        "perceptual": PERCEPTUAL_INPUT,
    }

    @classmethod
    def outputs(cls, config: ResShiftConfig, inputs: InputFacets) -> Mapping[str, Output]:
        require_autoencoder(config.autoencoder, inputs)
        require_lpips(config.losses or (), inputs)
        facets: Facets = {"role": "sr", "family": "resshift", "timesteps": config.process.timesteps}
        scale, space = facets_of(inputs, "pairs").get("scale"), latent_space(config.autoencoder, inputs)
        if isinstance(scale, int):
            facets["scale"] = scale
        if space is not None:
            facets["latent_space"] = space
        refuse_unfit_latents(config.data, inputs, space)
        return {"model": Output("model", "the teacher", facets, reproducible=config.device == "cpu")}

    def run(self, ctx: Context) -> None:
        from stages.data.scale import pair_scale
        from stages.losses.connected import connected_losses
        from stages.models.connected import connected_autoencoder
        from stages.models.numerics import numerics, seeded
        from stages.models.registry import save_model, save_provenance, trained_on
        from stages.models.resshift import ResShiftModel
        from stages.training.cached import connected_latents
        from stages.training.distributed import ranks_of
        from stages.training.loader import PairLoader
        from stages.training.loop import Trainer
        from stages.training.pairs import training_pairs
        from stages.training.pictures import HeldOutPictures

        config: ResShiftConfig = ctx.config
        scale = pair_scale(ctx.inputs["pairs"])
        autoencoder = connected_autoencoder(ctx.inputs, config.autoencoder)
        settings: dict[str, Any] = {"scale": scale}
        settings |= config.model_dump(mode="json", include={"residual", "network", "process"})
        with numerics(config.threads, reproducible=config.device == "cpu"), ranks_of(ctx) as ranks:
            with seeded(config.seed):
                model = ResShiftModel(autoencoder=autoencoder, **settings)
            pairs = training_pairs(ctx.inputs["pairs"], config, model.multiple)
            latents = connected_latents(ctx.inputs, pairs, config.data, model.autoencoder.space)
            losses = None if config.losses is None else connected_losses(ctx.inputs, config.losses)
            method = ResShiftMethod(model, config, losses)
            pictures = HeldOutPictures.of(ctx.inputs["pairs"], ctx)
            hr = latents is None or method.image_losses is not None
            with PairLoader(pairs, scale, config, ranks, latents=latents, hr=hr) as loader:
                state = Trainer(method, loader, config, ctx, pictures, ranks).run()
        if ctx.rank:
            return  # rank 0 has the same weights
        card: JsonObject = {
            "preprocessing": {"colour": "sRGB", "range": [-1, 1], "padding": "reflect", "multiple": model.multiple},
            "sampler": {"kind": "ancestral", "steps": config.process.timesteps},
        }
        save_model(ctx.out["model"], model.family, model.constructor, state.averages["model"].average, card)
        seen = set(pairs.images)
        if "autoencoder" in ctx.inputs:
            ctx.out["model"].ref("autoencoder", ctx.inputs["autoencoder"])
            seen |= trained_on(ctx.inputs["autoencoder"])
        save_provenance(ctx.out["model"], seen)
        ctx.out["model"].facet(scale=scale, latent_space=model.autoencoder.space)
