"""``train.resshift``: the ResShift teacher (Yue, Wang, Loy, arXiv 2307.12348).

A ResShift model turns an LR image into an HR image by a short Markov chain that shifts the residual between
them. Read from top to bottom: the settings, the loss (:class:`ResShiftMethod`), and the stage around it.
The chain itself is `stages/diffusion/resshift.py`, the network around it `stages/models/resshift.py`, and
everything that any training has in common `stages/training/`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from pipelines.stage import Config, Context, Facets, Input, InputFacets, JsonObject, Output, Resources, Stage
from stages.models.config import AUTOENCODER_INPUT, Network, NetworkConfig
from stages.training.config import TrainConfig

if TYPE_CHECKING:
    from torch import Tensor, nn

    from stages.models.resshift import ResShiftModel
    from stages.training.method import Batch, Losses, Phase


class ProcessConfig(Config):
    """The chain (paper, section 3.2). The paper's two settings: 15 steps, min_noise 0.04; 4 steps, min_noise 0.2."""

    timesteps: PositiveInt = 15
    kappa: PositiveFloat = 2.0
    power: PositiveFloat = 0.3
    min_noise: PositiveFloat = 0.04
    """Bounds kappa * sqrt(eta_1), the noise of the first step."""
    end: Annotated[float, Field(gt=0, lt=1)] = 0.99
    """sqrt(eta_T)."""

    @model_validator(mode="after")
    def _rises(self) -> ProcessConfig:
        first = min(self.min_noise / self.kappa, self.min_noise)
        if first >= self.end:
            raise ValueError(f"sqrt(eta) must rise from {first:g} (of min_noise and kappa) to end={self.end:g}")
        return self


class ResShiftConfig(TrainConfig):
    network: Network = NetworkConfig()
    """`kind: swin` is the paper's network; without a kind it is a small UNet."""
    process: ProcessConfig = ProcessConfig()
    autoencoder: Literal["identity", "space-to-depth", "artifact"] = "space-to-depth"
    """The latent space: pixels at HR resolution; blocks of pixels folded into channels at LR resolution; or that of
    the trained autoencoder connected to the input `autoencoder`, which is not trained further."""
    residual: bool = True
    """The network's output is added to the encoded bicubic image, so that training starts from that answer."""


class ResShiftMethod:
    """One network, one optimiser, one loss: the denoiser predicts z0 from z_t and the LR image."""

    def __init__(self, model: ResShiftModel, config: ResShiftConfig) -> None:
        from stages.training.method import Phase

        self.model = model
        self.networks: Mapping[str, nn.Module] = {"model": model}
        self.averaged: Mapping[str, float] = {"model": config.training.ema}
        self.phases: Sequence[Phase] = (Phase("denoiser", ("model",), config.training, self.losses),)

    def losses(self, batch: Batch) -> Losses:
        """|| f(z_t, y, t) - z0 ||^2, averaged over elements, the same weight for every t (section 3.1).

        t is uniform over the chain, z_t ~ q(z_t | z0, z_y). The weight that the variational bound would give
        each t is dropped, as in the paper: which improves the results.
        """
        z0, zy = self.model.encode_pair(batch.lr, batch.hr)
        t = batch.noise.integers("t", batch.samples, self.model.process.timesteps)
        noise = batch.noise.normal("forward", batch.samples, z0.shape[1:]).to(z0)
        z_t = self.model.process.q_sample(z0, zy, t, noise)
        predicted = self.model.predict_x0(z_t, t, batch.lr, zy)
        return {"loss": (predicted - z0).float().square().mean()}

    def preview(self, lr: Tensor, name: str) -> Tensor:
        return self.model.super_resolve(lr, name=name)


class TrainResShift(Stage):
    """Train a ResShift teacher on degraded pairs; the artifact holds its averaged weights."""

    name = "train.resshift"
    gang = True
    Config = ResShiftConfig
    inputs = {
        "pairs": Input("samples", "LR and HR pairs; only their train split is learned from", {"role": "pairs"}),
        "autoencoder": AUTOENCODER_INPUT,
    }
    code_policy: ClassVar[Literal["key", "advisory"]] = "advisory"

    @classmethod
    def outputs(cls, config: ResShiftConfig, inputs: InputFacets) -> Mapping[str, Output]:
        facets: Facets = {"role": "sr", "family": "resshift", "timesteps": config.process.timesteps}
        pairs, trained = inputs.get("pairs"), inputs.get("autoencoder")
        scale = pairs.get("scale") if isinstance(pairs, Mapping) else None
        if isinstance(scale, int):
            facets["scale"] = scale
        space = trained.get("space") if isinstance(trained, Mapping) else None
        if config.autoencoder == "identity":
            space = "pixel"
        elif config.autoencoder == "space-to-depth":
            space = f"space-to-depth-{scale}" if isinstance(scale, int) else None
        if space is not None:
            facets["latent_space"] = space
        return {"model": Output("model", "the teacher", facets, reproducible=config.device == "cpu")}

    @classmethod
    def resources(cls, config: ResShiftConfig) -> Resources:
        return Resources(cpus=config.threads, gpus=1 if config.device == "cuda" else 0)

    def run(self, ctx: Context) -> None:
        from stages.data.scale import pair_scale
        from stages.models.connected import connected_autoencoder
        from stages.models.numerics import numerics, seeded
        from stages.models.registry import save_model, save_provenance, trained_on
        from stages.models.resshift import ResShiftModel
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
            pictures = HeldOutPictures.of(ctx.inputs["pairs"], ctx)
            with PairLoader(pairs, scale, config, ranks) as loader:
                state = Trainer(ResShiftMethod(model, config), loader, config, ctx, pictures, ranks).run()
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
